"""Figures of what few patients allow: the resampled pipeline and the hyperparameter search."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

KIND_LABELS = {
    "bootstrap": "Bootstrap fits,\noriginal patients",
    "split": "Repeated splits,\ninternal test",
    "permuted": "Permuted outcomes,\ninternal test",
}
KIND_COLOURS = {"bootstrap": style.DARK, "split": style.BLUE, "permuted": style.LIGHT}


@style.styled
def optimism(table: pd.DataFrame, single: float, printed: tuple[float, float, float] | None = None) -> Figure:
    """C-index of the resampled pipeline: a histogram of the repeated splits, and a dot a fit for every kind.

    ``table`` [kind, replicate, c_index] as in optimism.csv. ``single``: C-index of the study's one internal test
    set, drawn as a line; NaN where there is none. ``printed``: value and interval that the letter prints, drawn as
    a band. With an empty table the figure says that nothing was run.
    """
    style.need_columns(table, ["kind", "replicate", "c_index"], "frame of replicates")
    table = table[table["c_index"].notna() & table["kind"].isin(KIND_LABELS)].astype({"c_index": float})
    top, height, left, right = 12.0, 46.0, 12.0, 105.0
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + height + 9.0)
    if table.empty:
        text = "not run in this study: optimism.repeats is 0"
        style.text_mm(fig, style.TWO_COLUMNS_MM / 2, top + height / 2, text, ha="center", fontsize=TITLE_PT)
        return fig
    values = table["c_index"].to_numpy()
    # with room for the dots at either end
    low, high = np.floor(min(values.min() - 0.01, 0.45) * 20) / 20, np.ceil(max(values.max() + 0.01, 0.75) * 20) / 20
    split = table.loc[table["kind"] == "split", "c_index"].to_numpy()
    ax = style.axes_mm(fig, left, top, 62.0, height)
    ax.hist(
        split,
        bins=(np.arange(np.floor(low * 50), high * 50 + 1) / 50).tolist(),
        color=style.LIGHT,
        edgecolor="white",
        linewidth=0.4,
    )
    ax.set(xlabel="C-index of the internal test set", ylabel="Random splits", xlim=(low, high))
    rows = style.axes_mm(fig, right, top, style.TWO_COLUMNS_MM - right - 3.0, height)
    kinds = [kind for kind in KIND_LABELS if (table["kind"] == kind).any()]
    for k, kind in enumerate(kinds):
        mine = np.sort(table.loc[table["kind"] == kind, "c_index"].to_numpy())
        spread = 0.28 * np.sin(np.arange(len(mine)) * 2.4)  # a fixed scatter, so that dots do not hide each other
        rows.scatter(mine, k + spread, s=6, color=KIND_COLOURS[kind], alpha=0.55, linewidths=0, zorder=2)
        rows.plot([mine.mean()] * 2, [k - 0.38, k + 0.38], color=KIND_COLOURS[kind], linewidth=1.6, zorder=3)
    rows.set_yticks(range(len(kinds)), [KIND_LABELS[k] for k in kinds])
    rows.set_ylim(len(kinds) - 0.5, -0.5)
    rows.set(xlabel="C-index", xlim=(low, high))
    rows.axvline(0.5, color=style.GREY, linewidth=0.5, zorder=0.5)
    shown = "NA" if np.isnan(single) else f"{single:.3f}"
    keys: list[Artist] = [Line2D([], [], color=style.BLUE, linewidth=1.2, label=f"this study's one split: {shown}")]
    if not np.isnan(single):
        ax.axvline(single, color=style.BLUE, linewidth=1.2)
    if len(split) == 0:
        ax.text(0.5, 0.5, "NA: no split", transform=ax.transAxes, ha="center", fontsize=SMALL_PT)
    if printed is not None:
        value, lower, upper = printed
        for each in (ax, rows):
            each.axvspan(lower, upper, color=style.GREY, alpha=0.3, linewidth=0, zorder=0.2)
        label = f"the letter: {value:.3f} ({lower:.3f}–{upper:.3f})"
        keys.append(Patch(color=style.GREY, alpha=0.3, linewidth=0, label=label))
    keys.append(Line2D([], [], color=style.BLACK, linewidth=1.6, label="mean of the dots"))
    style.top_legend(fig, keys, left)
    for x0, letter, title in ((left, "a", "Repeated splits"), (right, "b", "All resampled fits")):
        style.text_mm(fig, x0, top - 2.0, title, fontsize=TITLE_PT, va="bottom")
        style.panel_letter(fig, x0 - (left - 1.0), top - 5.6, letter)
    return fig


@style.styled
def search_trials(trials: pd.DataFrame, default: float | None = None) -> Figure:
    """Cross-validated loss of every trial of a search, in order, with the best so far.

    ``trials`` [trial, value, state] as in search_trials.csv; lower is better. ``default``: loss of the study's own
    values, drawn as a line.
    """
    style.need_columns(trials, ["trial", "value", "state"], "frame of trials")
    done = trials[trials["value"].notna()]
    fig = style.new_figure(style.TWO_COLUMNS_MM, 62.0)
    ax = style.axes_mm(fig, 16.0, 9.0, style.TWO_COLUMNS_MM - 20.0, 42.0)
    ax.scatter(done["trial"], done["value"], s=9, color=style.BLUE, zorder=2)
    ax.step(done["trial"], done["value"].cummin(), where="post", color=style.BLACK, linewidth=1.2, zorder=3)
    keys = [
        Line2D([], [], linestyle="none", marker="o", markersize=3.0, color=style.BLUE, label="trial"),
        Line2D([], [], color=style.BLACK, linewidth=1.2, label="best so far"),
    ]
    if default is not None:
        ax.axhline(default, color=style.DARK, linewidth=1.0, linestyle=(0, (4, 1.2)), zorder=1)
        keys.append(Line2D([], [], color=style.DARK, linestyle=(0, (4, 1.2)), label="the study's own values"))
    ax.set(xlabel="Trial", ylabel="Negative log partial likelihood\nper event, held-out patients")
    if len(done):
        # a few absurd trials must not flatten the rest
        bottom, top = done["value"].min(), float(done["value"].quantile(0.95))
        top = max(top, default if default is not None else top)
        room = 0.08 * (top - bottom or 0.1)
        ax.set_ylim(bottom - room, top + room)
    style.top_legend(fig, keys, 16.0)
    style.text_mm(fig, 16.0, 60.0, "Trials above the frame are not shown.", fontsize=SMALL_PT, va="bottom")
    return fig
