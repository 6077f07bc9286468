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
    "inside": ("D", style.DARK, "printed, inside our interval"),
    "outside": ("s", style.BLACK, "printed, outside"),
    "unknown": ("^", style.LIGHT, "printed, nothing to compare"),
}
OURS = style.LOOKS["TFDeepSurv"].colour

# a hazard ratio estimated from a handful of patients must not squeeze all others into a point
LOG_LIMITS = (0.05, 50.0)


# which quantities are drawn, each in a panel of its own: quantity, statistic that has an interval, outcome; its name
PANELS = {
    ("HR", "estimate", "OS"): "Hazard ratio, OS",
    ("HR", "estimate", "RFS"): "Hazard ratio, RFS",
    ("sarcopenic", "%", ""): "Prevalence, %",
    ("C-index", "estimate", ""): "C-index",
    ("HR per SD", "estimate", "OS"): "Hazard ratio per SD, OS",
}
KEYS = ["set", "marker", "outcome", "quantity"]
COLUMNS = ["published", "published_low", "published_high", "ours", "low", "high", "inside", "difference"]
ROW_MM, HEAD_MM, AXIS_MM, TOP_MM = 4.0, 6.0, 10.0, 7.0


def comparison_frame(comparison: pd.DataFrame, sets: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The rows of ``published.compare`` that are drawn, as group (panel), set, label (row), item and the numbers.

    ``sets`` gives labels of sets. The printed interval is that of the rows low and high.
    """
    sets, pieces = sets or {}, []
    ends = comparison[comparison["statistic"].isin(["low", "high"])]
    ends = ends.pivot(index=KEYS, columns="statistic", values="published").add_prefix("published_").reset_index()
    for (quantity, statistic, outcome), group in PANELS.items():
        part = comparison[(comparison["quantity"] == quantity) & (comparison["statistic"] == statistic)]
        part = part[part["outcome"] == outcome]
        if len(part):
            pieces.append(part.assign(group=group, label=part["marker"]))
    frame = pd.concat(pieces, ignore_index=True).merge(ends, "left", KEYS)
    frame["set"] = frame["set"].map(lambda name: sets.get(name, name))
    return frame.reindex(columns=["group", "set", "label", "item", *COLUMNS])


@style.styled
def paper_comparison(frame: pd.DataFrame, confidence: float = 0.95) -> Figure:
    """Our estimate with its interval and, below it, the published one with its own; one row an item, one panel a group.

    ``frame`` [group, set, label, item, published, published_low, published_high, ours, low, high, inside] in drawing
    order, as of ``comparison_frame``: ``group`` names panel and axis, rows stand under the name of their ``set``.
    ``inside`` is true where the published value lies in our interval, empty where there is nothing to compare. Hazard
    ratios have a logarithmic axis. ``confidence`` is the level of our intervals. ValueError for a missing column.
    """
    style.need_columns(frame, ["group", "set", "label", "item", *COLUMNS[:-1]], "comparison")
    rows_of = {group: _rows(frame[frame["group"] == group]) for group in dict.fromkeys(frame["group"])}
    used = [0.0, 0.0]
    places: dict[str, tuple[int, float]] = {}
    for group, rows in rows_of.items():  # each panel goes to the shorter of the two columns
        column = int(used[1] < used[0])
        places[group] = (column, used[column])
        used[column] += HEAD_MM + ROW_MM * len(rows) + AXIS_MM
    fig = style.new_figure(style.TWO_COLUMNS_MM, TOP_MM + max(used))
    half = style.TWO_COLUMNS_MM / 2
    for letter, (group, rows) in zip(string.ascii_lowercase, rows_of.items(), strict=False):
        column, y = places[group]
        # in bold, as the names of the sets are
        name_mm = max(style.text_width_mm(str(label), SMALL_PT, "bold") for label in rows["label"]) + 4.0
        name_mm = min(name_mm, half / 2)
        ax = style.axes_mm(fig, column * half + name_mm, TOP_MM + y + HEAD_MM, half - name_mm - 5.0, ROW_MM * len(rows))
        _comparison_panel(ax, rows, group.startswith("Hazard ratio"))
        ax.set_yticklabels([style.shortened(str(label), name_mm - 3.0, SMALL_PT) for label in rows["label"]])
        ax.set_xlabel(group)
        style.panel_letter(fig, column * half + 1.0, TOP_MM + y + 0.9, letter)
        style.text_mm(fig, column * half + 5.0, TOP_MM + y + 1.3, group, fontsize=TITLE_PT, va="top")
    keys = [Line2D([], [], color=OURS, marker="o", markersize=3.4, linewidth=1.0,
                   label=f"this run, {style.level(confidence)} interval")]  # fmt: skip
    drawn = set(frame.loc[frame["published"].notna(), "inside"].map(_verdict))
    for verdict, (marker, colour, label) in MARKS.items():
        if verdict in drawn:
            keys.append(Line2D([], [], linewidth=0.8, label=label, marker=marker, color=colour,
                               markersize=3.6, markerfacecolor="white"))  # fmt: skip
    style.top_legend(fig, keys, 2.0)
    return fig


def _rows(part: pd.DataFrame) -> pd.DataFrame:
    """Rows of one panel, each set's under a row that holds its name alone; where a set has one row, it is its name."""
    if part["set"].is_unique:
        return part.assign(label=part["set"]).reset_index(drop=True)
    pieces = []
    for name, rows in part.groupby("set", sort=False):
        pieces += [pd.DataFrame({"label": [name]}), rows]
    return pd.concat(pieces, ignore_index=True)


def _verdict(inside: object) -> str:
    if pd.isna(inside):
        return "unknown"
    return "inside" if bool(inside) else "outside"


def _comparison_panel(ax: Axes, part: pd.DataFrame, log: bool) -> None:
    rows = np.arange(len(part))
    ours, low, high, printed, least, most = (
        part[c].to_numpy(float) for c in ("ours", "low", "high", "published", "published_low", "published_high")
    )
    if log:  # an interval without an end leaves the frame
        low, high = np.maximum(low, LOG_LIMITS[0] / 2), np.minimum(high, LOG_LIMITS[1] * 2)
    ax.hlines(rows - 0.17, low, high, color=OURS, linewidth=1.0, zorder=2)
    ax.plot(ours, rows - 0.17, linestyle="none", marker="o", markersize=3.2, color=OURS, zorder=3)
    for k in rows.tolist():
        marker, colour, _ = MARKS[_verdict(part.loc[k, "inside"])]
        ax.hlines(k + 0.17, least[k], most[k], color=colour, linewidth=0.8, zorder=3.5)
        ax.plot(printed[k], k + 0.17, marker=marker, markersize=3.2, markerfacecolor="white", markeredgewidth=0.8,
                color=colour, zorder=4)  # fmt: skip
        if pd.notna(part.loc[k, "item"]) and not (np.isfinite(printed[k]) or np.isfinite(ours[k])):
            ax.text(0.02, k, "NA", transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL_PT, color=style.GREY)
    ax.set_yticks(rows, part["label"].astype(str))
    for tick, item in zip(ax.get_yticklabels(), part["item"], strict=True):
        tick.set_fontweight("bold" if pd.isna(item) else "normal")
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
            ax.plot(np.full(beyond.sum(), edge), rows[beyond] - 0.17, linestyle="none", marker=marker, markersize=3.4,
                    color=OURS, clip_on=False, zorder=3)  # fmt: skip
    for k in rows[1::2]:
        ax.axhspan(k - 0.5, k + 0.5, color="#000000", alpha=0.035, linewidth=0, zorder=0)
