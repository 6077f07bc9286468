"""Kaplan-Meier panels with confidence bands, censoring ticks and numbers at risk (Fig. 2, 4c-f, S1-S3)."""

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
from analysis_lib.figures.style import SMALL_PT, TEXT_PT, TITLE_PT

OUTCOME_NAMES = {"OS": "Overall survival", "RFS": "Recurrence-free survival"}

GROUP_STYLES: list[tuple[str, style.Dashes]] = [
    (style.BLUE, "-"),
    (style.VERMILLION, (0, (4, 1.2))),
    (style.GREEN, (0, (1.2, 0.8))),
    (style.PURPLE, (0, (5, 1, 1, 1))),
]

LETTER_MM, TITLE_MM, PLOT_MM, AXIS_MM, ROW_MM, BELOW_MM, GAP_MM = 4.0, 4.5, 36.0, 9.0, 3.1, 4.3, 4.0


@style.styled
def km_grid(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    annotations: pd.DataFrame,
    groups: Sequence[str] | None = None,
    columns: int = 3,
    ylabel: str = "Overall survival",
    xlabel: str = "Months",
    note: str = "Shaded and in brackets: {level} confidence interval.\nVertical ticks: censored patients.",
    confidence: float = 0.95,
    empty_text: str = "No patient in group\n‘{group}’: NA",
    first_letter: str = "a",
) -> Figure:
    """Kaplan-Meier panels in a grid, each with its numbers at risk under the ticks.

    ``curves`` [panel, group, month, survival, low, high, censored]: steps of the estimate, ``censored`` true
    or a count where a tick belongs. ``at_risk`` [panel, group, month, n]: its months are the ticks, its last
    month the end of the axis. ``annotations`` [panel, title, text]: one row a panel in drawing order; text as
    printed, for example the HR and P; in an optional column ``below`` a line to stand under the panel's numbers at
    risk. ``groups`` sets the order of colours and rows (default: order of first
    appearance in ``at_risk``). A panel where a group has no curve prints ``empty_text``. ``confidence`` is the level
    of bands and intervals, which ``note`` names. Months since the start, survival as a fraction. ValueError if a
    column is missing.
    """
    style.need_columns(curves, ["panel", "group", "month", "survival", "low", "high", "censored"], "frame of curves")
    style.need_columns(at_risk, ["panel", "group", "month", "n"], "frame of numbers at risk")
    style.need_columns(annotations, ["panel", "title", "text"], "frame of annotations")
    names = list(groups) if groups is not None else list(dict.fromkeys(at_risk["group"]))
    if len(names) > len(GROUP_STYLES):
        raise ValueError(f"at most {len(GROUP_STYLES)} groups can be told apart, got {len(names)}")
    ticks = sorted(at_risk["month"].unique())

    panels = len(annotations)
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    has_free_cell = rows * columns > panels
    legend_mm = 0.0 if has_free_cell else 6.0
    label_mm = max(style.text_width_mm(name, SMALL_PT) for name in names)
    left_mm = max(label_mm + 5.8, 12.0)
    cell_w = style.TWO_COLUMNS_MM / columns
    below = annotations["below"].fillna("").tolist() if "below" in annotations else [""] * panels
    table_mm = ROW_MM * (len(names) + 1) + (BELOW_MM if any(below) else 0.0)
    cell_h = TITLE_MM + PLOT_MM + AXIS_MM + table_mm + GAP_MM
    fig = style.new_figure(style.TWO_COLUMNS_MM, legend_mm + rows * cell_h)

    letters = string.ascii_lowercase[string.ascii_lowercase.index(first_letter) :]
    for i, row in enumerate(annotations.itertuples(index=False)):
        x0, y0 = (i % columns) * cell_w, legend_mm + (i // columns) * cell_h
        ax = style.axes_mm(fig, x0 + left_mm, y0 + TITLE_MM, cell_w - left_mm - 3.5, PLOT_MM)
        ax.set_gid(f"panel-{row.panel}")
        mine = curves[curves["panel"] == row.panel]
        empty = _draw_curves(ax, mine, names)
        messages = [str(row.text)] if isinstance(row.text, str) and row.text else []
        messages += [empty_text.format(group=name) for name in empty]
        ax.text(0.03, 0.04, "\n".join(messages), transform=ax.transAxes, va="bottom", linespacing=1.3)
        _frame_axes(ax, ticks, xlabel, ylabel if i % columns == 0 else "")
        style.panel_letter(fig, x0 + 0.5, y0 + 0.3, letters[i])
        size = style.fitting_pt(str(row.title), cell_w - LETTER_MM - 2.0, TITLE_PT)
        style.text_mm(fig, x0 + LETTER_MM, y0 + 0.6, str(row.title), fontsize=size, va="top")
        table = at_risk[at_risk["panel"] == row.panel]
        top = y0 + TITLE_MM + PLOT_MM + AXIS_MM
        _number_rows(fig, ax, table, names, ticks, x0, top)
        if below[i]:
            size = style.fitting_pt(below[i], cell_w - 3.0, SMALL_PT)
            style.text_mm(fig, x0 + 1.0, top + len(names) * ROW_MM + BELOW_MM, below[i], fontsize=size, va="center")

    note = note.format(level=style.level(confidence))
    _legend(fig, names, note, has_free_cell, (columns - 1) * cell_w + left_mm, legend_mm + (rows - 1) * cell_h)
    return fig


def sarcopenia_figure(
    frames: Mapping[str, pd.DataFrame], outcome: str, confidence: float, xlabel: str, columns: int = 3
) -> Figure:
    """Curves with and without sarcopenia, a panel a definition; ``frames`` as of ``table2.sarcopenia_curves``."""
    groups, ylabel = _calmer_first(frames), OUTCOME_NAMES[outcome]
    return km_grid(**frames, groups=groups, columns=columns, ylabel=ylabel, xlabel=xlabel, confidence=confidence)


def risk_group_figure(
    frames: Mapping[str, pd.DataFrame], confidence: float, xlabel: str, first_letter: str = "c"
) -> Figure:
    """Fig. 4c-f: curves of high and low risk, a panel a set; ``frames`` as of ``risk_groups.risk_group_curves``."""
    return km_grid(
        **frames,
        groups=_calmer_first(frames),
        columns=2,
        xlabel=xlabel,
        first_letter=first_letter,
        confidence=confidence,
    )


def _calmer_first(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """The groups with the one at risk last, which the frames name first."""
    return list(dict.fromkeys(frames["at_risk"]["group"]))[::-1]


def _draw_curves(ax: Axes, curves: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Draw each group's steps; returns the groups that have no curve."""
    empty = []
    for name, (colour, dashes) in zip(names, GROUP_STYLES, strict=False):
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
        ax.fill_between(month, low, high, where=band, step="post", color=colour, alpha=0.16, linewidth=0, zorder=1)
        ax.step(month, survival, where="post", color=colour, linestyle=dashes, zorder=3, label=name)
        ticks = curve[curve["censored"].astype(float) > 0]
        ax.plot(
            ticks["month"],
            ticks["survival"],
            linestyle="none",
            marker="|",
            markersize=3.2,
            markeredgewidth=0.45,
            color=colour,
            zorder=2.5,
        )
    return empty


def _frame_axes(ax: Axes, ticks: Sequence[float], xlabel: str, ylabel: str) -> None:
    ax.set_xlim(0, ticks[-1])
    ax.set_xticks(ticks)
    ax.set_ylim(0, 1.02)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.50", "0.75", "1.00"])
    ax.spines["left"].set_bounds(0, 1)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def _number_rows(
    fig: Figure, ax: Axes, table: pd.DataFrame, names: Sequence[str], ticks: Sequence[float], x0: float, top: float
) -> None:
    width, _ = style.size_mm(fig)
    box = ax.get_position()
    style.text_mm(fig, x0 + 1.0, top, "Number at risk", fontsize=SMALL_PT, va="center")
    for k, (name, (colour, _)) in enumerate(zip(names, GROUP_STYLES, strict=False)):
        y = top + (k + 1) * ROW_MM
        numbers = table[table["group"] == name].set_index("month")["n"]
        style.text_mm(fig, x0 + 1.0, y, name, fontsize=SMALL_PT, va="center", color=colour)
        for tick in ticks:
            x = (box.x0 + box.width * tick / ticks[-1]) * width
            shown = f"{int(numbers[tick])}" if tick in numbers.index and pd.notna(numbers[tick]) else "–"
            number = style.text_mm(fig, x, y, shown, fontsize=SMALL_PT, va="center", ha="center")
            number.set_gid("at-risk")


def _legend(fig: Figure, names: Sequence[str], note: str, has_free_cell: bool, left: float, top: float) -> None:
    keys = [
        Line2D([], [], color=colour, linestyle=dashes, label=name)
        for name, (colour, dashes) in zip(names, GROUP_STYLES, strict=False)
    ]
    width, height = style.size_mm(fig)
    if has_free_cell:
        anchor = (left / width, 1 - (top + TITLE_MM) / height)
        fig.legend(handles=keys, loc="upper left", bbox_to_anchor=anchor, borderaxespad=0, handlelength=3)
        lines = style.wrap_mm(note, width - left - 3.0, TEXT_PT)
        style.text_mm(fig, left + 0.5, top + TITLE_MM + 5.0 * len(names), "\n".join(lines), va="top", linespacing=1.4)
    else:
        anchor = (1.5 / width, 1 - 0.5 / height)
        fig.legend(
            handles=keys,
            loc="upper left",
            bbox_to_anchor=anchor,
            borderaxespad=0,
            ncols=len(names),
            handlelength=3,
            columnspacing=2,
        )
        style.text_mm(fig, width - 1.5, 2.4, note.replace("\n", " "), va="center", ha="right")
