"""Specification curves, and power against the size of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis_lib.figures import style
from analysis_lib.figures.curves import panel_axes
from analysis_lib.figures.style import SMALL_PT

# choices drawn under the curve: column, name
CHOICES = {
    "hr": {"set": "Set", "outcome": "Endpoint", "index": "Index", "window": "HU window", "groups": "Groups",
           "adjusted": "Adjusted"},
    "gain": {"set": "Set", "against": "Against", "form": "Form", "code_size": "AutoEncoder", "split_seed": "Split",
             "harmonised": "Harmonised"},
}  # fmt: skip
LABELS = {"hr": "Hazard ratio of low muscle", "gain": "C-index, model less marker"}


@style.styled
def specification_curve(table: pd.DataFrame, value: str, reference: float) -> Figure:
    """Every specification in the order of its estimate, with interval, and under it the choices that made it.

    ``table`` has ``value`` ("hr" or "gain"), low, high, p and columns of CHOICES; those without an estimate
    are left out, and counted in the title.
    """
    known = table[table[value].notna()].sort_values(value, kind="stable").reset_index(drop=True)
    choices = {column: name for column, name in CHOICES[value].items() if column in table}
    rows = [(name, level) for column, name in choices.items() for level in dict.fromkeys(table[column].astype(str))]
    left, row_mm, curve_mm = 38.0, 3.1, 48.0
    groups = len(choices)
    fig = style.new_figure(style.TWO_COLUMNS_MM, 10.0 + curve_mm + row_mm * (len(rows) + groups) + 6.0)
    width = style.TWO_COLUMNS_MM - left - 4.0
    ax = style.axes_mm(fig, left, 8.0, width, curve_mm)
    x = np.arange(len(known))
    significant = ((known["low"] > reference) | (known["high"] < reference)).to_numpy()
    for chosen, colour in ((~significant, style.GREY), (significant, style.BLUE)):
        part = known[chosen]
        ax.vlines(x[chosen], part["low"], part["high"], color=colour, alpha=0.3, linewidth=0.6)
        ax.plot(x[chosen], part[value], ".", color=colour, markersize=2.0)
    ax.axhline(reference, color=style.BLACK, linewidth=0.6)
    ax.set(ylabel=LABELS[value], xlim=(-1, max(len(known), 1)))
    if value == "hr":
        ax.set_yscale("log")
        ax.set_ylim(0.1, 10)
        style.plain_log_ticks(ax)
    ax.set_xticks([])
    below = style.axes_mm(fig, left, 10.0 + curve_mm, width, row_mm * (len(rows) + groups), sharex=ax)
    y, ticks, labels = 0.0, [], []
    for column, name in choices.items():
        for level in dict.fromkeys(table[column].astype(str)):
            member = (known[column].astype(str) == level).to_numpy()
            below.plot(
                x[member], np.full(member.sum(), y), "|", color=style.BLACK, markersize=4.0, markeredgewidth=0.35
            )
            ticks.append(y)
            labels.append(f"{name}: {level}")
            y += 1
        y += 1
    below.set_yticks(ticks, labels, fontsize=SMALL_PT)
    below.set_ylim(y - 1, -1)
    below.tick_params(axis="both", length=0, labelbottom=False)
    for side in below.spines.values():
        side.set_visible(False)
    lost = len(table) - len(known)
    text = f"{len(known)} specifications" + (f" ({lost} more have no finite estimate)" if lost else "")
    style.text_mm(fig, left, 3.0, text, va="center")
    keys = [
        Line2D([], [], color=style.BLUE, marker=".", label="interval excludes no effect"),
        Line2D([], [], color=style.GREY, marker=".", label="interval holds no effect"),
    ]
    ax.legend(handles=keys, loc="upper left", ncols=2)
    return fig


@style.styled
def power_curves(table: pd.DataFrame, needed: pd.DataFrame, wanted: float) -> Figure:
    """Power against the number of deaths, HRs left, C-indices right, with the deaths that the power ``wanted`` needs.

    ``table`` as from ``power.power``, ``needed`` as from ``power.sizes_needed``.
    """
    titles = {"HR": "Hazard ratio of a definition, OS", "C-index": "Model's C-index above a definition's"}
    fig, axes = panel_axes(list(titles.values()), 2, 62.0)
    needed = needed.set_index(["measure", "definition"])
    for ax, measure in zip(axes, titles, strict=True):
        part = table[table["measure"] == measure]
        if part.empty:
            continue
        for definition, look in style.looks(list(part["definition"].unique())).items():
            own = part[part["definition"] == definition].sort_values("events")
            ax.fill_between(own["events"].to_numpy(float), own["low"].to_numpy(float), own["high"].to_numpy(float),
                            color=look.colour, alpha=0.12, linewidth=0)  # fmt: skip
            events, note = needed.loc[(measure, definition), ["events", "note"]]
            size = note or f"{events:.0f}"
            label = f"{definition}: {own['estimate'].iloc[-1]:.2f}, {size} deaths"
            ax.plot(own["events"], own["power"], color=look.colour, linestyle=look.dashes, marker=".", label=label)
        ax.axhline(wanted, color=style.GREY, linewidth=0.5)
        ax.set_xscale("log")
        style.plain_log_ticks(ax, "x")
        share = part["events"].sum() / part["n"].sum()
        ax.set(ylim=(0, 1.02), xlabel=f"Deaths ({share:.0%} of the patients)", ylabel="Power")
        ax.legend(loc="lower right", fontsize=SMALL_PT,  # where power is high and the corner free
                  title=f"median estimate, deaths for {wanted:.0%} power", title_fontsize=SMALL_PT)  # fmt: skip
    return fig
