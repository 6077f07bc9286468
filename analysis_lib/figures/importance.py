"""What the model loses where a group of features is permuted among the patients, by test set."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis_lib.figures import style
from analysis_lib.figures.stability import CLASSES
from analysis_lib.figures.style import TEXT_PT, TITLE_PT

ROW_MM, GAP_MM, LEFT_MM, TOP_MM, AXIS_MM = 3.6, 2.0, 42.0, 11.0, 8.0
NAMES = CLASSES | {"shape": "Shape", "shape2D": "Shape, 2-D", "sm": "SM", "pm": "PM", "original": "Original"}


def group_name(group: str) -> str:
    """A group of features as the axis names it: 'LoG 3 mm', 'Wavelet LLH', 'First order'."""
    if found := re.fullmatch(r"log-sigma-(\d+)-(\d+)-mm-3D", group):
        return f"LoG {float('.'.join(found.groups())):g} mm"
    return NAMES.get(group) or group[:1].upper() + group[1:].replace("-", " ")


@style.styled
def importance_plot(frame: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """A panel a test set, a row a group of features: mean loss of C-index, with its SDs over permutations and networks.

    ``frame`` as ``results.importance.importances`` returns it; ``labels`` of the sets, in drawing order. A set that was
    not asked prints why. ValueError for a missing column.
    """
    wanted = [
        "set",
        "kind",
        "group",
        "n_features",
        "n",
        "events",
        "c_index",
        "loss",
        "permutation_sd",
        "network_sd",
        "note",
    ]
    style.need_columns(frame, wanted, "importance")
    sets = [name for name in labels if name in set(frame["set"])]
    if not sets:
        return style.figure_without_panels()
    groups = frame[frame["set"] == sets[0]].reset_index(drop=True)
    new_kind = (groups["kind"] != groups["kind"].shift()).cumsum() - 1
    at = (np.arange(len(groups)) * ROW_MM + new_kind * GAP_MM).to_numpy()
    height = at[-1] + ROW_MM
    fig = style.new_figure(style.TWO_COLUMNS_MM, TOP_MM + height + AXIS_MM)
    width = (style.TWO_COLUMNS_MM - LEFT_MM - 2.0) / len(sets)
    bars = frame[["permutation_sd", "network_sd"]].max(axis=1).fillna(0)
    ends = np.r_[frame["loss"] - bars, frame["loss"] + bars, 0.0, 0.05]
    limits = np.nanmin(ends) - 0.01, np.nanmax(ends) + 0.01
    for k, name in enumerate(sets):
        part = frame[frame["set"] == name].reset_index(drop=True)
        ax = style.axes_mm(fig, LEFT_MM + k * width, TOP_MM, width - 6.0, height)
        ax.set(xlim=limits, ylim=(height - ROW_MM / 2, -ROW_MM / 2), xlabel="Loss of C-index")
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        ax.set_yticks(at, [group_name(g) for g in groups["group"]] if k == 0 else [])
        ax.tick_params(axis="y", length=0)
        _panel(ax, part, at)
        first = part.iloc[0]
        known = "" if pd.isna(first["c_index"]) else f"C-index {first['c_index']:.2f}"
        style.text_mm(fig, LEFT_MM + k * width, 4.6, labels[name], room=width - 6.0, fontsize=TITLE_PT, va="top")
        style.text_mm(fig, LEFT_MM + k * width, 7.8, known, fontsize=TEXT_PT, va="top", color=style.GREY)
    keys = [
        Line2D(
            [], [], color=style.BLUE, marker="o", markersize=3.2, linewidth=1.6, label="Mean, ± SD over permutations"
        ),
        Line2D([], [], color=style.LIGHT, marker="|", linewidth=0.8, label="± SD over single networks"),
    ]
    style.top_legend(fig, keys, LEFT_MM)
    style.foot_note(fig, "Groups share information: their losses do not add up")
    return fig


def _panel(ax: Axes, part: pd.DataFrame, at: np.ndarray) -> None:
    ax.axvline(0.0, color=style.GREY, linewidth=0.6, zorder=0.5)
    if part["loss"].isna().all():
        ax.text(0.5, 0.5, f"NA:\n{part['note'].iloc[0]}", transform=ax.transAxes, ha="center", fontsize=TEXT_PT)
        return
    loss, shuffled, single = (part[c].to_numpy(float) for c in ("loss", "permutation_sd", "network_sd"))
    ax.errorbar(loss, at + 0.8, xerr=single, fmt="none", ecolor=style.LIGHT, elinewidth=0.8, capsize=1.2, capthick=0.8)
    ax.hlines(at, loss - shuffled, loss + shuffled, color=style.BLUE, linewidth=1.6)
    ax.plot(loss, at, linestyle="none", marker="o", markersize=3.2, color=style.BLUE)
    for y in at[(part["kind"] != part["kind"].shift()).to_numpy()][1:]:
        ax.axhline(y - (ROW_MM + GAP_MM) / 2, color=style.GREY, linewidth=0.3)
