"""Kaplan-Meier panels with bands, numbers at risk, censored and of events, after KMunicate (Fig. 2, 4c-f, S1-S3)."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis_lib.figures import style
from analysis_lib.figures.style import TITLE_PT

# Under the plot, of each group and by each tick, as proposed by KMunicate (Morris 2019, 10.1136/bmjopen-2019-030215).
ROWS = {"n": "At risk", "n_censored": "Censored", "n_events": "Events"}

LETTER_MM, TITLE_MM, PLOT_MM, AXIS_MM, ROW_MM, BELOW_MM, GAP_MM = 4.0, 8.4, 38.0, 12.2, 3.1, 4.3, 4.0
LEAST_BREAK = 0.2  # an axis that begins lower begins at 0
LEGEND_MM, LEFT_MM, RIGHT_MM = 6.0, 17.5, 3.5


@style.styled
def km_grid(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    annotations: pd.DataFrame,
    columns: int = 3,
    ylabel: str = "Overall survival",
    xlabel: str = "Months",
    confidence: float = 0.95,
    first_letter: str = "a",
) -> Figure:
    """Kaplan-Meier panels in a grid, each with its numbers at risk, of censored and of events under the ticks.

    ``curves`` [panel, group, month, survival, low, high, censored]: steps of the estimate, ``censored`` true
    or a count where a tick belongs. ``at_risk`` [panel, group, label, month, n, n_censored, n_events]: its months are
    the ticks, its last month the end of the axis, its groups in drawing order, ``label`` stands above a group's rows.
    ``annotations`` [panel, title, text]: one row a panel in drawing order; text as
    printed, for example the HR and P; in an optional column ``below`` a line to stand under the panel's numbers at
    risk. A panel where a group has no curve says NA. ``confidence`` is the level
    of bands and intervals. Months since the start, survival as a fraction; the axis of survival is broken where no
    curve and no band comes near 0. ValueError if a column is missing.
    """
    style.need_columns(curves, ["panel", "group", "month", "survival", "low", "high", "censored"], "frame of curves")
    style.need_columns(at_risk, ["panel", "group", "label", "month", *ROWS], "frame of numbers at risk")
    style.need_columns(annotations, ["panel", "title", "text"], "frame of annotations")
    names, ticks = list(dict.fromkeys(at_risk["group"])), sorted(at_risk["month"].unique())
    panels = len(annotations)
    columns = min(columns, panels)
    cell_w = style.TWO_COLUMNS_MM / columns
    below = annotations["below"].fillna("").tolist() if "below" in annotations else [""] * panels
    table_mm = ROW_MM * (len(ROWS) + 1) * len(names) + (BELOW_MM if any(below) else 0.0)
    cell_h = TITLE_MM + PLOT_MM + AXIS_MM + table_mm + GAP_MM
    fig = style.new_figure(style.TWO_COLUMNS_MM, LEGEND_MM + math.ceil(panels / columns) * cell_h)
    start = _start(curves[curves["month"] <= ticks[-1]])
    of_panels = style.looks(annotations["panel"].tolist())

    letters = string.ascii_lowercase[string.ascii_lowercase.index(first_letter) :]
    for i, row in enumerate(annotations.itertuples(index=False)):
        x0, y0 = (i % columns) * cell_w, LEGEND_MM + (i // columns) * cell_h
        ax = style.axes_mm(fig, x0 + LEFT_MM, y0 + TITLE_MM, cell_w - LEFT_MM - RIGHT_MM, PLOT_MM)
        ax.set_gid(f"panel-{row.panel}")
        look_of = style.looks(names)
        if "Sarcopenia" in names:  # in the colour of its definition, as in every figure
            look_of["Sarcopenia"] = look_of["Sarcopenia"]._replace(colour=of_panels[row.panel].colour)
        empty = _draw_curves(ax, curves[curves["panel"] == row.panel], look_of)
        _frame_axes(ax, ticks, start, xlabel, ylabel if i % columns == 0 else "")
        style.panel_letter(fig, x0 + 0.5, y0 + 0.3, letters[i])
        room = cell_w - LETTER_MM - 2.0
        style.text_mm(fig, x0 + LETTER_MM, y0 + 0.6, str(row.title), room=room, fontsize=TITLE_PT, va="top")
        said = [str(row.text)] if isinstance(row.text, str) and row.text else []
        said += [f"No patient in group ‘{name}’: NA" for name in empty]
        style.text_mm(fig, x0 + LETTER_MM, y0 + 4.3, "; ".join(said), room=room, va="top")
        top = y0 + TITLE_MM + PLOT_MM + AXIS_MM
        _number_rows(fig, ax, at_risk[at_risk["panel"] == row.panel], look_of, ticks, x0, top)
        if below[i]:
            y = top + table_mm - BELOW_MM + 1.2
            style.text_mm(fig, x0 + 1.0, y, below[i], room=cell_w - 3.0, va="center")

    own = {"Sarcopenia": "Sarcopenia (in the colour of its definition)"}
    keys = [Line2D([], [], color=look.colour, linestyle=look.dashes, label=own.get(name, name))
            for name, look in style.looks(names).items()]  # fmt: skip
    style.top_legend(fig, keys, 1.5, handlelength=3)
    note = f"Shaded and in brackets: {style.level(confidence)} confidence interval. Vertical ticks: censored patients."
    style.foot_note(fig, note + (f" Broken axis: it begins at {start:g}." if start else ""))
    return fig


def sarcopenia_figure(
    frames: Mapping[str, pd.DataFrame], ylabel: str, confidence: float, xlabel: str, columns: int = 3
) -> Figure:
    """Curves with and without sarcopenia, a panel a definition; ``frames`` as of ``table2.sarcopenia_curves``."""
    return km_grid(**frames, columns=columns, ylabel=ylabel, xlabel=xlabel, confidence=confidence)


def risk_group_figure(
    frames: Mapping[str, pd.DataFrame], ylabel: str, confidence: float, xlabel: str, first_letter: str = "c"
) -> Figure:
    """Fig. 4c-f: curves of high and low risk, a panel a set; ``frames`` as of ``risk_groups.risk_group_curves``."""
    return km_grid(**frames, columns=2, ylabel=ylabel, xlabel=xlabel, first_letter=first_letter, confidence=confidence)


def _start(curves: pd.DataFrame) -> float:
    """Where the axis of survival begins: at a tenth below all curves and bands, at 0 where that saves little."""
    lowest = curves[["survival", "low"]].astype(float).min(axis=None)
    start = math.floor(min(lowest, 0.9) * 10) / 10 if lowest > 0 else 0.0
    return start if start >= LEAST_BREAK else 0.0


def _draw_curves(ax: Axes, curves: pd.DataFrame, look_of: Mapping[str, style.Look]) -> list[str]:
    """Draw each group's steps; returns the groups that have no curve."""
    empty = []
    for name, look in look_of.items():
        curve = curves[curves["group"] == name].sort_values("month", kind="stable")
        if curve.empty:
            empty.append(name)
            continue
        month = curve["month"].to_numpy(float)
        survival, low, high = (curve[c].to_numpy(float) for c in ("survival", "low", "high"))
        if month[0] > 0:  # everybody is alive at the start
            month = np.concatenate([[0.0], month])
            survival, low, high = (np.concatenate([[1.0], y]) for y in (survival, low, high))
        band = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(month, low, high, where=band, step="post", color=look.colour, alpha=0.16, linewidth=0, zorder=1)
        ax.step(month, survival, where="post", color=look.colour, linestyle=look.dashes, zorder=3, label=name)
        ticks = curve[curve["censored"].astype(float) > 0]
        ax.plot(ticks["month"], ticks["survival"], linestyle="none", marker="|", markersize=3.2, markeredgewidth=0.45,
                color=look.colour, zorder=2.5)  # fmt: skip
    return empty


def _frame_axes(ax: Axes, ticks: Sequence[float], start: float, xlabel: str, ylabel: str) -> None:
    ax.set_xlim(0, ticks[-1])
    ax.set_xticks(ticks)
    ax.set_ylim(start, 1 + 0.02 * (1 - start))
    step = 0.1 if start >= 0.5 else 0.2
    shown = [1 - k * step for k in range(round(1 / step) + 1) if 1 - k * step > start + 0.02 or start == 0]
    ax.set_yticks(shown, [f"{abs(value):.1f}" for value in shown])
    ax.spines["left"].set_bounds(start, 1)
    if start:  # two strokes across the axis, as of a broken one
        for k, y in enumerate((0.03, 0.055)):
            ax.plot([-0.025, 0.025], [y - 0.012, y + 0.012], color=style.BLACK, linewidth=0.6, transform=ax.transAxes,
                    clip_on=False, zorder=5, gid=f"break-{k}")  # fmt: skip
        ax.plot([0, 0], [0.03, 0.055], color="white", linewidth=1.2, transform=ax.transAxes, clip_on=False, zorder=4)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def _number_rows(
    fig: Figure,
    ax: Axes,
    table: pd.DataFrame,
    look_of: Mapping[str, style.Look],
    ticks: Sequence[float],
    x0: float,
    top: float,
) -> None:
    width, height = style.size_mm(fig)
    box = ax.get_position()
    for k, (name, look) in enumerate(look_of.items()):
        rows = table[table["group"] == name].set_index("month")
        y = top + k * (len(ROWS) + 1) * ROW_MM
        fig.add_artist(Line2D(np.array([x0 + 1.0, x0 + 6.0]) / width, [1 - y / height] * 2, color=look.colour,
                              linestyle=look.dashes, linewidth=1.1))  # fmt: skip
        label = str(rows["label"].iloc[0]) if len(rows) else name
        style.text_mm(fig, x0 + 7.0, y, label, room=box.x1 * width - x0 - 7.0, va="center")
        for j, (column, title) in enumerate(ROWS.items(), start=1):
            style.text_mm(fig, x0 + 1.0, y + j * ROW_MM, title, va="center")
            for tick in ticks:
                x = (box.x0 + box.width * tick / ticks[-1]) * width
                known = tick in rows.index and pd.notna(rows.at[tick, column])
                shown = f"{round(float(rows.at[tick, column]), 1):g}" if known else "–"  # weights need not be whole
                style.text_mm(fig, x, y + j * ROW_MM, shown, va="center", ha="center", gid=column)
