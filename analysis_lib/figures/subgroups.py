"""C-index and O/E of the model in each subgroup of each test set, as a forest plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from analysis_lib.common.formatting import absent, format_estimate, format_p
from analysis_lib.figures import style
from analysis_lib.figures.style import TEXT_PT, TITLE_PT

ROW_MM, HEAD_MM, TOP_MM, AXIS_MM = 4.2, 6.0, 6.5, 9.5
NAME, COUNT, DIFFERENCE = 4.0, 52.0, 172.0  # mm: left edge of the names, right edges of the others


class Measure(NamedTuple):
    """A column of the plot: which estimate, its title, where it is drawn and printed (mm), and its null."""

    column: str
    title: str
    drawn: float
    printed: float
    null: float


MEASURES = (Measure("c_index", "C-index", 55.0, 80.0, 0.5), Measure("ratio", "O/E", 107.0, 130.0, 1.0))
WIDTH_MM, LOG_LIMITS = 22.0, (0.1, 10.0)


@style.styled
def subgroup_forest(
    frame: pd.DataFrame, labels: Mapping[str, str], events: str = "deaths", confidence: float = 0.95
) -> Figure:
    """A block a test set and a row a subgroup: patients and events, C-index, O/E, difference of C-index with its P.

    ``frame`` as ``results.subgroups.subgroups`` returns it; ``labels`` of the sets, in drawing order. What is empty is
    printed as NA. ValueError for a missing column.
    """
    drawn = [f"{m.column}{end}" for m in MEASURES for end in ("", "_low", "_high")]
    style.need_columns(
        frame, ["set", "subgroup", "level", "n", "events", "difference", "p", "month", *drawn], "subgroups"
    )
    sets = [name for name in labels if name in set(frame["set"])]
    if not sets:
        return style.figure_without_panels()
    heights = [HEAD_MM + ROW_MM * int((frame["set"] == name).sum()) for name in sets]
    fig = style.new_figure(style.TWO_COLUMNS_MM, TOP_MM + sum(heights) + AXIS_MM)
    bold: dict[str, Any] = {"fontsize": TITLE_PT, "fontweight": "bold", "va": "top"}
    style.text_mm(fig, COUNT, 1.0, f"Patients ({events})", ha="right", **bold)
    for measure in MEASURES:
        month = f" at {frame['month'].iloc[0]:g} months" if measure.column == "ratio" else ""
        style.text_mm(fig, measure.drawn, 1.0, f"{measure.title}{month}", **bold)
    style.text_mm(fig, DIFFERENCE, 1.0, "Difference of C", ha="right", **bold)
    top = TOP_MM
    for k, (name, height) in enumerate(zip(sets, heights, strict=True)):
        part = frame[frame["set"] == name].reset_index(drop=True)
        style.text_mm(fig, NAME - 2.0, top, labels[name], **bold)
        for measure in MEASURES:
            ax = style.axes_mm(fig, measure.drawn, top + HEAD_MM - 1.5, WIDTH_MM, height - HEAD_MM)
            _panel(ax, part, measure, _limits(frame, measure))
            if k < len(sets) - 1:
                ax.tick_params(labelbottom=False)
            else:
                ax.set_xlabel(measure.title)
        for j, row in enumerate(part.itertuples()):
            _texts(fig, top + HEAD_MM - 1.5 + ROW_MM * (j + 0.5), row)
        top += height
    style.foot_note(
        fig, f"Bars: {style.level(confidence)} bootstrap intervals. Difference: from the first level that has a C-index"
    )
    return fig


def _limits(frame: pd.DataFrame, measure: Measure) -> tuple[float, float]:
    values = frame[[measure.column, f"{measure.column}_low", f"{measure.column}_high"]].to_numpy(float)
    finite = np.append(values[np.isfinite(values)], measure.null)
    if measure.column == "ratio":
        low, high = np.clip([finite.min(), finite.max()], *LOG_LIMITS)
        return min(low / 1.1, 0.5), max(high * 1.1, 2.0)
    return np.floor(10 * finite.min() - 0.1) / 10, np.ceil(10 * finite.max() + 0.1) / 10


def _panel(ax: Axes, part: pd.DataFrame, measure: Measure, limits: tuple[float, float]) -> None:
    look = style.LOOKS["TFDeepSurv"]
    value, low, high = (part[f"{measure.column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    rows = np.arange(len(part))
    if measure.column == "ratio":
        ax.set_xscale("log")
    ax.set(xlim=limits, ylim=(len(part) - 0.5, -0.5), yticks=[])
    if measure.column == "ratio":
        style.plain_log_ticks(ax, "x")
    else:
        ax.xaxis.set_major_locator(MultipleLocator(0.5 if limits[1] - limits[0] > 0.6 else 0.2))
    ax.axvline(measure.null, color=style.GREY, linewidth=0.6, zorder=0.5)
    if np.isfinite(value[0]):  # everybody of the set
        ax.axvline(value[0], color=look.colour, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0.6)
    inside = np.clip(np.stack([low, high]), *limits)
    ax.hlines(rows, *inside, color=look.colour, linewidth=1.0)
    whole = (part["subgroup"] == "all").to_numpy()
    for which, marker, size in ((whole, "D", 4.0), (~whole, look.marker, 3.2)):
        seen = which & (value >= limits[0]) & (value <= limits[1])
        ax.plot(value[seen], rows[seen], linestyle="none", marker=marker, markersize=size, color=look.colour)
    ax.spines["left"].set_visible(False)


def _texts(fig: Figure, y: float, row) -> None:
    strong: dict[str, Any] = {
        "fontsize": TEXT_PT,
        "va": "center",
        "fontweight": "bold" if row.subgroup == "all" else "normal",
    }
    name = row.level if row.subgroup != "centre" else f"centre {row.level}"
    style.text_mm(fig, NAME, y, name[:1].upper() + name[1:], room=COUNT - NAME - 12.0, **strong)
    style.text_mm(fig, COUNT, y, f"{row.n} ({row.events})", ha="right", **strong)
    for measure in MEASURES:
        value, low, high = (getattr(row, f"{measure.column}{end}") for end in ("", "_low", "_high"))
        style.text_mm(fig, measure.printed, y, format_estimate(value, low, high), **strong)
    if not absent(row.difference):
        text = f"{row.difference:+.2f}, {format_p(row.p)}".replace("-", "−")
        style.text_mm(fig, DIFFERENCE, y, text, ha="right", **strong)
