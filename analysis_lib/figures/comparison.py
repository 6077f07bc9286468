"""The letter's numbers beside ours, item by item."""

from __future__ import annotations

import string
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

# marker, colour and label of the published value
MARKS = {
    "inside": ("D", style.BLACK, "published, inside our interval"),
    "outside": ("s", style.VERMILLION, "published, outside our interval"),
    "unknown": ("^", style.GREY, "published, nothing to compare"),
}

# a hazard ratio estimated from a handful of patients must not squeeze all others into a point
LOG_LIMITS = (0.05, 50.0)


# which quantities are drawn, each in a panel of its own: the axis label, and the statistic that has an interval
PANELS = {("HR", "estimate"): "Hazard ratio", ("sarcopenic", "%"): "Prevalence, %", ("C-index", "estimate"): "C-index"}
PANELS |= {("HR per SD", "estimate"): "Hazard ratio per SD"}


def comparison_frame(comparison: pd.DataFrame, sets: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The rows of ``published.compare`` that are drawn, as group (panel), label (row), item and the numbers.

    ``sets`` gives labels of sets.
    """
    sets, pieces = sets or {}, []
    for (quantity, statistic), group in PANELS.items():
        part = comparison[(comparison["quantity"] == quantity) & (comparison["statistic"] == statistic)]
        names = part["set"].map(lambda name: sets.get(name, name))
        labels = (names + ", " + part["marker"] + " " + part["outcome"]).str.rstrip()
        if len(part):
            pieces.append(part.assign(group=group, label=labels))
    frame = pd.concat(pieces, ignore_index=True)
    return frame[["group", "label", "item", "published", "ours", "low", "high", "inside", "difference"]]


@style.styled
def paper_comparison(frame: pd.DataFrame, confidence: float = 0.95) -> Figure:
    """Our estimate with its interval and the published value, one row an item, one panel a group.

    ``frame`` [group, item, published, ours, low, high, inside] in drawing order (``comparison_frame`` makes
    it): ``group`` names panel and axis, ``label``, where there is one, the row in
    place of ``item``. ``inside`` is true where the published value lies in our interval, empty where there is
    nothing to compare. Hazard ratios have a logarithmic axis. ``confidence`` is the level of our
    intervals. ValueError for a missing column.
    """
    style.need_columns(frame, ["group", "item", "published", "ours", "low", "high", "inside"], "comparison")
    frame = frame if "label" in frame.columns else frame.assign(label=frame["item"])
    groups = list(dict.fromkeys(frame["group"]))
    row_mm, head_mm, axis_mm, top = 3.4, 6.0, 10.0, 7.0
    heights = {g: head_mm + row_mm * int((frame["group"] == g).sum()) + axis_mm for g in groups}
    # every panel goes to the shorter of the two columns, the tallest first
    used = [0.0, 0.0]
    places: dict[str, tuple[int, float]] = {}
    for group in sorted(groups, key=lambda g: -heights[g]):
        column = int(used[1] < used[0])
        places[group] = (column, used[column])
        used[column] += heights[group]
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + max(used))
    half = style.TWO_COLUMNS_MM / 2
    letters = dict(zip(sorted(groups, key=lambda g: places[g]), string.ascii_lowercase, strict=False))
    for group in groups:
        part = frame[frame["group"] == group].reset_index(drop=True)
        column, y = places[group]
        name_mm = max(style.text_width_mm(str(item), SMALL_PT) for item in part["label"]) + 4.0
        ax = style.axes_mm(fig, column * half + name_mm, top + y + head_mm, half - name_mm - 5.0, row_mm * len(part))
        _comparison_panel(ax, part, group.startswith("Hazard ratio"))
        ax.set_xlabel(group)
        style.panel_letter(fig, column * half + 1.0, top + y + 0.9, letters[group])
        style.text_mm(fig, column * half + 5.0, top + y + 1.3, group, fontsize=TITLE_PT, va="top")
    keys = [Line2D([], [], color=style.BLUE, marker="o", markersize=3.4, linewidth=1.0,
                   label=f"this run, {style.level(confidence)} interval")]  # fmt: skip
    drawn = set(frame.loc[frame["published"].notna(), "inside"].map(_verdict))
    for verdict, (marker, colour, label) in MARKS.items():
        if verdict in drawn:
            keys.append(
                Line2D([], [], linestyle="none", label=label, marker=marker, color=colour, markersize=4.2,
                       markerfacecolor="none")
            )  # fmt: skip
    style.top_legend(fig, keys, 2.0)
    return fig


def _verdict(inside: object) -> str:
    if pd.isna(inside):
        return "unknown"
    return "inside" if bool(inside) else "outside"


def _comparison_panel(ax: Axes, part: pd.DataFrame, log: bool) -> None:
    rows = np.arange(len(part))
    ours, low, high, published = (part[c].to_numpy(float) for c in ("ours", "low", "high", "published"))
    if log:  # an interval without an end leaves the frame
        low, high = np.maximum(low, LOG_LIMITS[0] / 2), np.minimum(high, LOG_LIMITS[1] * 2)
    ax.hlines(rows, low, high, color=style.BLUE, linewidth=1.0, zorder=2)
    ax.plot(ours, rows, linestyle="none", marker="o", markersize=3.4, color=style.BLUE, zorder=3)
    for k in rows.tolist():
        marker, colour, _ = MARKS[_verdict(part.loc[k, "inside"])]
        ax.plot(
            published[k],
            k,
            marker=marker,
            markersize=4.2,
            markerfacecolor="none",
            markeredgewidth=0.8,
            color=colour,
            zorder=4,
        )
        if not (np.isfinite(published[k]) or np.isfinite(ours[k])):
            ax.text(0.02, k, "NA", transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL_PT, color=style.GREY)
    ax.set_yticks(rows, part["label"].astype(str))
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    if log:
        ax.set_xscale("log")
        ax.axvline(1.0, color=style.GREY, linewidth=0.5, zorder=0.5)
        left, right = ax.get_xlim()
        ax.set_xlim(max(left, LOG_LIMITS[0]), min(right, LOG_LIMITS[1]))
        left, right = ax.get_xlim()
        style.plain_log_ticks(ax, "x")
        for beyond, edge, marker in ((low < left, left, "<"), (high > right, right, ">")):  # the interval goes on
            ax.plot(np.full(beyond.sum(), edge), rows[beyond], linestyle="none", marker=marker, markersize=3.4,
                    color=style.BLUE, clip_on=False, zorder=3)  # fmt: skip
    for k in rows[1::2]:
        ax.axhspan(k - 0.5, k + 0.5, color="#000000", alpha=0.035, linewidth=0, zorder=0)
