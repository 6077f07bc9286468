"""The verdict at a glance: each printed ratio and C-index beside ours, and whether both conclude the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis_lib.common.formatting import absent, format_estimate, format_p
from analysis_lib.figures import style
from analysis_lib.figures.style import TEXT_PT, TITLE_PT

PRINTED, OURS = style.BLACK, style.BLUE
ROW_MM, HEAD_MM, AXIS_MM = 4.4, 5.5, 9.0
# left edges, mm: names, printed, drawn, ours, same conclusion
NAME, TEXT, DRAWN, OWN, SAME, RIGHT = 2.0, 42.0, 78.0, 126.0, 161.0, 174.0
LOG_LIMITS = (0.1, 20.0)
VALUES = [f"{whose}{end}" for whose in ("published", "ours") for end in ("", "_low", "_high", "_p")]


@style.styled
def forest(frame: pd.DataFrame, confidence: float = 0.95) -> Figure:
    """One row a printed number, one panel a quantity, in drawing order.

    ``frame`` [group, label, same] and published and ours, each with _low, _high and _p; ``group`` names panel and axis,
    hazard ratios have a logarithmic one, ``same`` is empty where there is nothing to compare. ValueError for a missing
    column.
    """
    style.need_columns(frame, ["group", "label", "same", *VALUES], "verdict")
    groups = list(dict.fromkeys(frame["group"]))
    heights = [HEAD_MM + ROW_MM * int((frame["group"] == group).sum()) + AXIS_MM for group in groups]
    fig = style.new_figure(style.TWO_COLUMNS_MM, 9.0 + sum(heights))
    heads = [(TEXT, "Printed", PRINTED), (OWN, f"This run, {style.level(confidence)} interval", OURS)]
    for left, text, colour in heads:
        style.text_mm(fig, left, 1.5, text, fontsize=TITLE_PT, fontweight="bold", color=colour, va="top")
    style.text_mm(fig, RIGHT, 1.5, "Same\nconclusion?", fontsize=TITLE_PT, fontweight="bold", va="top", ha="right")
    top = 9.0
    for group, height in zip(groups, heights, strict=True):
        part = frame[frame["group"] == group].reset_index(drop=True)
        style.text_mm(fig, NAME, top + 1.0, group, fontsize=TITLE_PT, fontweight="bold", va="top")
        ax = style.axes_mm(fig, DRAWN, top + HEAD_MM, OWN - DRAWN - 4.0, ROW_MM * len(part))
        _panel(ax, part, group.startswith("Hazard ratio"))
        ax.set_xlabel(group)
        digits = 3 if group == "C-index" else 2
        for k, row in enumerate(part.itertuples()):
            _row(fig, top + HEAD_MM + ROW_MM * (k + 0.5), row, digits)
        top += height
    return fig


def _row(fig: Figure, y: float, row, digits: int) -> None:
    def put(left: float, text: str, **kwargs: Any) -> None:
        style.text_mm(fig, left, y, text, va="center", **{"fontsize": TEXT_PT, **kwargs})

    put(NAME, row.label)
    put(TEXT, _text(row, "published", digits), color=PRINTED)
    put(OWN, _text(row, "ours", digits), color=OURS)
    said = "NA" if absent(row.same) else "yes" if row.same else "NO"
    strong = {"fontweight": "bold", "color": style.BLACK} if said == "NO" else {"color": style.GREY}
    put(RIGHT - 1.0, said, ha="right", **strong)


def _text(row, whose: str, digits: int) -> str:
    value, low, high, p = (getattr(row, f"{whose}{end}") for end in ("", "_low", "_high", "_p"))
    text = f"{value:.{digits}f}" if absent(low) and not absent(value) else format_estimate(value, low, high, digits)
    return text if absent(p) or absent(value) else f"{text} {format_p(p)}"


def _panel(ax: Axes, part: pd.DataFrame, log: bool) -> None:
    rows = np.arange(len(part))
    if log:
        ax.set_xscale("log")
    for whose, offset, colour, marker in (("published", -0.17, PRINTED, "D"), ("ours", 0.17, OURS, "o")):
        value, low, high = (part[f"{whose}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
        inside: Callable = (lambda x: np.clip(x, *LOG_LIMITS)) if log else (lambda x: x)
        ax.hlines(rows + offset, inside(low), inside(high), color=colour, linewidth=1.0)
        ax.plot(inside(value), rows + offset, linestyle="none", marker=marker, markersize=3.0, color=colour)
    null = 1.0 if log else 0.5
    ax.axvline(null, color=style.GREY, linewidth=0.6, zorder=0.5)
    if log:
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, LOG_LIMITS[0]), min(high, LOG_LIMITS[1]))
        style.plain_log_ticks(ax, "x")
    ax.set_ylim(len(part) - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    for k in rows[1::2]:
        ax.axhspan(k - 0.5, k + 0.5, color="#000000", alpha=0.035, linewidth=0, zorder=0)
