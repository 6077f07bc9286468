"""Grids of small curves: splines of an index, calibration, decision curves, cumulative incidence."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

LEFT_MM, GAP_MM, ROW_GAP_MM, TOP_MM = 15.0, 17.0, 16.0, 8.0
BEST = "Best definition"


def panel_axes(
    titles: Sequence[str],
    columns: int,
    height_mm: float | None,
    under: Sequence[str] = (),
    foot_mm: float = 0.0,
    right_mm: float = 0.0,
    top_mm: float = TOP_MM,
) -> tuple[Figure, list[Axes]]:
    """A figure two columns wide with a lettered, titled panel for each of ``titles``, ``columns`` in a row.

    ``height_mm``: None for square panels. ``under``: small lines under each title. ``foot_mm``, ``right_mm``: room kept
    under the axis of each panel and right of it. ``top_mm``: for a legend.
    """
    rows, lines = -(-len(titles) // columns), max((text.count("\n") + 1 for text in under), default=0)
    width = (style.TWO_COLUMNS_MM - LEFT_MM - 3.0 - (columns - 1) * GAP_MM) / columns - right_mm
    height, extra = height_mm or width, 0.4 + 3.2 * lines
    step = height + ROW_GAP_MM + extra + foot_mm
    fig = style.new_figure(style.TWO_COLUMNS_MM, top_mm + rows * step - 3.0)
    axes = []
    for k, title in enumerate(titles):
        x = LEFT_MM + (k % columns) * (width + right_mm + GAP_MM)
        y = top_mm + (k // columns) * step + 5.0 + extra
        axes.append(style.axes_mm(fig, x, y, width, height))
        style.panel_letter(fig, x - 12.0, y - 5.2 - extra, string.ascii_lowercase[k])
        style.text_mm(fig, x - 8.0, y - 4.8 - extra, title, room=width + right_mm + 8.0, fontsize=TITLE_PT, va="top")
        for j, line in enumerate(under[k].split("\n") if under else ()):
            style.text_mm(fig, x - 8.0, y - 1.3 - 3.2 * (lines - j), line, room=width + right_mm + 8.0, va="top")
    return fig, axes


@style.styled
def spline_grid(
    curves: pd.DataFrame, counts: pd.DataFrame, annotations: pd.DataFrame, confidence: float = 0.95
) -> Figure:
    """Hazard ratio against each index, a panel an index; frames as from ``splines.spline_curves``.

    ``confidence`` is the level of the band.
    """
    style.need_columns(curves, ["panel", "value", "hr", "low", "high"], "curves")
    fig, axes = panel_axes(annotations["title"].tolist(), 3, 36.0, under=annotations["text"].tolist())
    look_of = style.looks(annotations["panel"].tolist())
    for ax, note in zip(axes, annotations.itertuples(), strict=True):
        colour = look_of[note.panel].colour
        curve, bars = curves[curves["panel"] == note.panel], counts[counts["panel"] == note.panel]
        ax.axhline(1, color=style.GREY, linewidth=0.5)
        ax.axvline(0, color=style.GREY, linewidth=0.5, linestyle=(0, (2, 2)))
        ax.set_yscale("log")
        if len(curve):
            x, low, high = (curve[c].to_numpy(float) for c in ("value", "low", "high"))
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(x, curve["hr"].to_numpy(float), color=colour)
            height = 0.16 * bars["n"].to_numpy(float) / bars["n"].max()
            ax.bar(bars["value"], height, width=(x[-1] - x[0]) / len(bars), color=style.GREY, alpha=0.3, linewidth=0,
                   transform=ax.get_xaxis_transform())  # fmt: skip
            ax.set_ylim(max(low.min(), 0.05) / 1.1, min(high.max(), 20) * 1.1)
        style.plain_log_ticks(ax)
        ax.set(xlabel=f"Index less the cut-off, {note.unit}", ylabel="Hazard ratio")
    keys: list[Artist] = [
        Line2D([], [], color=style.BLACK, label=f"hazard ratio against the cut-off, {style.level(confidence)} band"),
        Line2D([], [], color=style.GREY, linestyle=(0, (2, 2)), label="cut-off (left of it: sarcopenia)"),
        Patch(color=style.GREY, alpha=0.3, linewidth=0, label="patients (histogram)"),
    ]
    style.top_legend(fig, keys, 2.0)
    return fig


@style.styled
def calibration_grid(
    groups: pd.DataFrame,
    curves: pd.DataFrame,
    predictions: pd.DataFrame,
    annotations: pd.DataFrame,
    columns: int = 3,
    confidence: float = 0.95,
    event: str = "death",
) -> Figure:
    """Observed against predicted risk in square panels, a row a set and a column a horizon with the same axes.

    ``groups`` [panel, predicted, observed, low, high], ``curves`` [panel, predicted, observed, low, high] (smooth),
    ``predictions`` [panel, predicted, n_predicted] (histogram), ``annotations`` [panel, title, text]; without a row the
    figure says that there is no test set. ``confidence`` is the level of the intervals, ``event`` what is predicted.
    """
    if annotations.empty:
        return style.figure_without_panels()
    fig, axes = panel_axes(annotations["title"].tolist(), columns, None, under=annotations["text"].tolist())
    blue = style.LOOKS["TFDeepSurv"].colour
    for k, (ax, note) in enumerate(zip(axes, annotations.itertuples(), strict=True)):
        beside = annotations["panel"].iloc[k % columns :: columns]
        top = _top(groups[groups["panel"].isin(beside)], curves[curves["panel"].isin(beside)])
        part, curve, bars = (frame[frame["panel"] == note.panel] for frame in (groups, curves, predictions))
        ax.plot([0, top], [0, top], color=style.GREY, linewidth=0.5)
        x, low, high = (curve[c].to_numpy(float) for c in ("predicted", "low", "high"))
        ax.fill_between(x, low, high, color=blue, alpha=0.15, linewidth=0)
        ax.plot(x, curve["observed"], color=blue)
        observed = part["observed"].to_numpy(float)
        spread = [observed - part["low"].to_numpy(float), part["high"].to_numpy(float) - observed]
        # A group without a death lies on the axis, which must not halve its dot.
        ax.errorbar(part["predicted"], observed, np.nan_to_num(spread), fmt="o", color=style.BLACK, markersize=2.8,
                    linewidth=0.7, clip_on=False, zorder=3)  # fmt: skip
        bars = bars[bars["n_predicted"] > 0]
        tall = 0.12 * bars["n_predicted"].to_numpy(float) / max(bars["n_predicted"].to_numpy(float), default=1.0)
        ax.vlines(bars["predicted"], 1.0, np.subtract(1.0, tall), color=style.GREY, linewidth=1.0,
                  transform=ax.get_xaxis_transform(), gid="histogram")  # fmt: skip
        ticks = np.arange(0, top + 0.01, 0.1 if top <= 0.5 else 0.2)
        ax.set(xlim=(0, top), ylim=(0, top), xticks=ticks, yticks=ticks)
        ax.set(xlabel=f"Predicted risk of {event}", ylabel="Observed risk")
    keys = [
        Line2D([], [], color=style.BLACK, marker="o", markersize=2.8, linewidth=0.7, label="groups (Kaplan-Meier)"),
        Line2D([], [], color=blue, label="smooth curve"),
        Line2D([], [], color=style.GREY, linewidth=0.5, label="perfect calibration"),
        Line2D([], [], color=style.GREY, marker="|", linestyle="none", markersize=6, label="patients by prediction"),
    ]
    style.top_legend(fig, keys, 2.0)
    style.foot_note(
        fig, f"Bars, band and in brackets: {style.level(confidence)} intervals. O/E: observed over predicted"
    )
    return fig


def _top(groups: pd.DataFrame, curves: pd.DataFrame) -> float:
    """End of the axes of calibration: a tenth that holds groups and smooth curves with their intervals."""
    columns = ["predicted", "observed", "high"]
    ends = [groups[columns].astype(float).max(axis=None), curves[columns].astype(float).max(axis=None), 0.2]
    return min(1.0, float(np.ceil(np.nanmax(ends) * 10 - 1e-9) / 10))


@style.styled
def decision_grid(
    curves: pd.DataFrame,
    titles: Mapping[str, str],
    models: Sequence[str],
    confidence: float = 0.95,
    best: str | None = None,
) -> Figure:
    """Net benefit against threshold, the first of the models and the definitions with bands; treat all, treat none.

    ``curves`` [panel, model, threshold, net_benefit, net_benefit_low, net_benefit_high], ``confidence`` the level of
    the bands. ``best``: which definition "Best definition" is, in whose colour it is drawn. Without titles the figure
    says that there is no test set.
    """
    ends = ["net_benefit_low", "net_benefit_high"]
    style.need_columns(curves, ["panel", "model", "threshold", "net_benefit", *ends], "curves")
    if not titles:
        return style.figure_without_panels()
    look_of = style.looks([*models, "all", "none"])
    if best and BEST in look_of:
        look_of[BEST] = style.looks([best])[best]._replace(short=f"{best} (the best)")
    fig, axes = panel_axes(list(titles.values()), 2, 44.0, right_mm=26.0, top_mm=1.0)
    for ax, panel in zip(axes, titles, strict=True):
        part = curves[curves["panel"] == panel]
        _decision_panel(ax, part, look_of, {models[0], BEST})
        if part.empty:
            ax.set_xlim(0, curves["threshold"].max() if len(curves) else 1)
    bands = f"{models[0]} and of the best definition" if BEST in look_of else models[0]
    style.foot_note(fig, f"Bands: {style.level(confidence)} intervals of {bands}")
    return fig


def _decision_panel(ax: Axes, part: pd.DataFrame, look_of: Mapping[str, style.Look], banded: set[str]) -> None:
    ends, highest = {}, part["net_benefit"].max()
    for name, look in look_of.items():
        line = part[(part["model"] == name) & part["net_benefit"].notna()]
        threshold, value, low, high = (
            line[c].to_numpy(float) for c in ("threshold", "net_benefit", "net_benefit_low", "net_benefit_high")
        )
        if name in banded and len(line):
            ax.fill_between(threshold, low, high, color=look.colour, alpha=0.15, linewidth=0)
            highest = max(highest, np.nanmax(high))
        first = name in banded
        ax.plot(threshold, value, color=look.colour, linestyle=look.dashes, linewidth=1.6 if first else 0.9,
                zorder=3 if first else 2.5)  # fmt: skip
        if len(line):
            ends[name] = (float(threshold[-1]), float(value[-1]))
    top = highest if np.isfinite(highest) and highest > 0 else 0.05
    ax.set_ylim(-0.3 * top, 1.05 * top)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if part.empty:
        ax.text(0.5, 0.5, "NA: too short a follow-up\nor too few patients", transform=ax.transAxes, ha="center",
                va="center", fontsize=SMALL_PT)  # fmt: skip
    else:
        ax.set_xlim(part["threshold"].min(), part["threshold"].max())
        style.label_ends(ax, ends, look_of=look_of)
    ax.set(xlabel="Threshold probability", ylabel="Net benefit")


@style.styled
def incidence_grid(
    curves: pd.DataFrame,
    titles: Mapping[str, str],
    causes: Mapping[int, str],
    last_month: float,
    confidence: float = 0.95,
    xlabel: str = "Months",
) -> Figure:
    """Cumulative incidence of each cause with its band; ``curves`` [panel, cause, month, incidence, low, high].

    The numbers at risk (column at_risk: alive without recurrence) stand under the axis. A panel without rows is not
    drawn: the foot says that its recurrence is not known. ``confidence`` is the level of the bands.
    """
    known = {panel: title for panel, title in titles.items() if (curves["panel"] == panel).any()}
    unknown = [title for panel, title in titles.items() if panel not in known]
    if not known:
        return style.figure_without_panels("NA: recurrence not known")
    height = 44.0
    fig, axes = panel_axes(list(known.values()), min(max(len(known), 2), 3), height, foot_mm=7.0)
    ticks = np.arange(0, last_month + 1, 12)
    highest = curves.loc[curves["month"] <= last_month, ["incidence", "high"]].astype(float).max(axis=None)
    top = min(1.0, max(0.1, np.ceil(highest * 10 - 1e-9) / 10))
    look_of = style.looks(list(causes.values()))
    for ax, panel in zip(axes, known, strict=True):
        part = curves[curves["panel"] == panel]
        for cause, name in causes.items():
            line, look = part[part["cause"] == cause], look_of[name]
            month = line["month"].to_numpy(float)
            ax.fill_between(month, line["low"].to_numpy(float), line["high"].to_numpy(float), step="post",
                            color=look.colour, alpha=0.15, linewidth=0)  # fmt: skip
            ax.step(month, line["incidence"], where="post", color=look.colour, linestyle=look.dashes)
        ax.set(xlim=(0, last_month), ylim=(0, top), xlabel=xlabel, ylabel="Cumulative incidence")
        ax.set_xticks(ticks)
        below = ax.get_xaxis_transform()
        ax.text(0, -9.5 / height, "Number at risk", transform=below, ha="center", va="top", fontsize=SMALL_PT)
        for tick in ticks:
            later = part.loc[part["month"] >= tick, "at_risk"]
            number = int(later.iloc[0]) if len(later) else 0
            ax.text(tick, -12.6 / height, f"{number}", transform=below, ha="center", va="top", fontsize=SMALL_PT)
    keys = [Line2D([], [], color=look.colour, linestyle=look.dashes, label=name) for name, look in look_of.items()]
    style.top_legend(fig, keys, 2.0)
    missing = f". Recurrence not known: {', '.join(unknown)}" if unknown else ""
    style.foot_note(fig, f"Bands: {style.level(confidence)} intervals{missing}")
    return fig
