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

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

LEFT_MM, GAP_MM, ROW_GAP_MM, TOP_MM, KEY_MM = 15.0, 17.0, 16.0, 8.0, 4.0
# colour and dashes, so that curves can be told apart without colour too
LINES: list[tuple[str, style.Dashes]] = [
    (style.BLUE, "-"),
    (style.VERMILLION, (0, (5, 2))),
    (style.GREEN, (0, (1, 1))),
    (style.ORANGE, (0, (5, 1, 1, 1))),
    (style.PURPLE, (0, (3, 1, 1, 1, 1, 1))),
    (style.SKY, (0, (8, 1.5))),
    (style.GREY, (0, (2, 2))),
]


def panel_axes(
    titles: Sequence[str],
    columns: int,
    height_mm: float,
    under: Sequence[str] = (),
    key_rows: int = 1,
    foot_mm: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """A figure two columns wide with a lettered, titled panel for each of ``titles``, ``columns`` in a row.

    ``under``: a small line under each title. ``key_rows``: lines of the legend along the upper edge. ``foot_mm``: room
    kept under the axis of each panel.
    """
    rows = -(-len(titles) // columns)
    top, extra = TOP_MM + (key_rows - 1) * KEY_MM, 3.5 if under else 0.0
    step = height_mm + ROW_GAP_MM + extra + foot_mm
    width = (style.TWO_COLUMNS_MM - LEFT_MM - 3.0 - (columns - 1) * GAP_MM) / columns
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + rows * step - 3.0)
    axes = []
    for k, title in enumerate(titles):
        x, y = LEFT_MM + (k % columns) * (width + GAP_MM), top + (k // columns) * step + 5.0 + extra
        axes.append(style.axes_mm(fig, x, y, width, height_mm))
        style.panel_letter(fig, x - 12.0, y - 5.2 - extra, string.ascii_lowercase[k])
        for text, above, size in (
            (title, 4.8 + extra, TITLE_PT),
            *((line, 4.4, SMALL_PT) for line in under[k : k + 1]),
        ):
            fitted = style.fitting_pt(text, width + 8.0, size)
            style.text_mm(fig, x - 8.0, y - above, text, fontsize=fitted, va="top")
    return fig, axes


def _legend(fig: Figure, keys: Sequence[Line2D], columns: int) -> None:
    width, height = style.size_mm(fig)
    anchor = (2.0 / width, 1 - 0.8 / height)
    fig.legend(handles=list(keys), loc="upper left", bbox_to_anchor=anchor, borderaxespad=0, ncols=columns,
               handlelength=3.2, columnspacing=1.6, labelspacing=0.3, fontsize=style.TEXT_PT)  # fmt: skip


@style.styled
def spline_grid(
    curves: pd.DataFrame, counts: pd.DataFrame, annotations: pd.DataFrame, confidence: float = 0.95
) -> Figure:
    """Hazard ratio against each index, a panel an index; frames as from ``splines.spline_curves``.

    ``confidence`` is the level of the band.
    """
    style.need_columns(curves, ["panel", "value", "hr", "low", "high"], "curves")
    fig, axes = panel_axes(annotations["title"].tolist(), 3, 36.0, under=annotations["text"].tolist())
    for ax, note in zip(axes, annotations.itertuples(), strict=True):
        curve, bars = curves[curves["panel"] == note.panel], counts[counts["panel"] == note.panel]
        ax.axhline(1, color=style.GREY, linewidth=0.5)
        ax.axvline(0, color=style.GREY, linewidth=0.5, linestyle=(0, (2, 2)))
        ax.set_yscale("log")
        if len(curve):
            x, low, high = (curve[c].to_numpy(float) for c in ("value", "low", "high"))
            ax.fill_between(x, low, high, color=style.BLUE, alpha=0.15, linewidth=0)
            ax.plot(x, curve["hr"].to_numpy(float), color=style.BLUE)
            height = 0.16 * bars["n"].to_numpy(float) / bars["n"].max()
            ax.bar(bars["value"], height, width=(x[-1] - x[0]) / len(bars), color=style.GREY, alpha=0.3, linewidth=0,
                   transform=ax.get_xaxis_transform())  # fmt: skip
            ax.set_ylim(max(low.min(), 0.05) / 1.1, min(high.max(), 20) * 1.1)
        style.plain_log_ticks(ax)
        ax.set(xlabel=f"Index less the cut-off, {note.unit}", ylabel="Hazard ratio")
    keys: list[Artist] = [
        Line2D([], [], color=style.BLUE, label=f"hazard ratio against the cut-off, {style.level(confidence)} band"),
        Line2D([], [], color=style.GREY, linestyle=(0, (2, 2)), label="cut-off (left of it: sarcopenia)"),
        Patch(color=style.GREY, alpha=0.3, linewidth=0, label="patients (histogram)"),
    ]
    style.top_legend(fig, keys, 2.0)
    return fig


@style.styled
def calibration_grid(
    groups: pd.DataFrame, curves: pd.DataFrame, annotations: pd.DataFrame, columns: int = 3, confidence: float = 0.95
) -> Figure:
    """Observed against predicted risk, a panel a set and horizon.

    ``groups`` [panel, predicted, observed, low, high], ``curves`` [panel, predicted, observed] (smooth),
    ``annotations`` [panel, title, text]; without a row the figure says that there is no test set. ``confidence`` is the
    level of the intervals.
    """
    if annotations.empty:
        return style.figure_without_panels()
    fig, axes = panel_axes(annotations["title"].tolist(), columns, 42.0, under=annotations["text"].tolist())
    for ax, note in zip(axes, annotations.itertuples(), strict=True):
        part, curve = groups[groups["panel"] == note.panel], curves[curves["panel"] == note.panel]
        ends = [part[["predicted", "observed", "high"]].max().max(), curve[["predicted", "observed"]].max().max(), 0.2]
        top = min(1.0, np.ceil(np.nanmax(ends) * 10) / 10)
        ax.plot([0, top], [0, top], color=style.GREY, linewidth=0.5)
        ax.plot(curve["predicted"], curve["observed"], color=style.BLUE, linestyle=(0, (4, 1.5)))
        observed = part["observed"].to_numpy(float)
        spread = [observed - part["low"].to_numpy(float), part["high"].to_numpy(float) - observed]
        # A group without a death lies on the axis, which must not halve its dot.
        ax.errorbar(part["predicted"], observed, np.nan_to_num(spread), fmt="o", color=style.VERMILLION, markersize=3.2,
                    linewidth=0.9, clip_on=False, zorder=3)  # fmt: skip
        ax.set(xlim=(0, top), ylim=(0, top), xlabel="Predicted risk of death", ylabel="Observed risk")
    keys = [
        Line2D(
            [],
            [],
            color=style.VERMILLION,
            marker="o",
            markersize=3.2,
            label=f"groups (Kaplan-Meier, {style.level(confidence)} interval)",
        ),
        Line2D([], [], color=style.BLUE, linestyle=(0, (4, 1.5)), label="smooth curve"),
        Line2D([], [], color=style.GREY, linewidth=0.5, label="perfect calibration"),
    ]
    style.top_legend(fig, keys, 2.0)
    return fig


@style.styled
def decision_grid(
    curves: pd.DataFrame,
    titles: Mapping[str, str],
    models: Sequence[str],
    columns: int = 3,
    confidence: float = 0.95,
) -> Figure:
    """Net benefit against threshold, the first of the models with its band; then treat all, treat none.

    ``curves`` [panel, model, threshold, net_benefit, net_benefit_low, net_benefit_high], ``confidence`` the level of
    the band. Without titles the figure says that there is no test set.
    """
    ends = ["net_benefit_low", "net_benefit_high"]
    style.need_columns(curves, ["panel", "model", "threshold", "net_benefit", *ends], "curves")
    if not titles:
        return style.figure_without_panels()
    fig, axes = panel_axes(list(titles.values()), columns, 38.0, key_rows=2)
    reference: list[tuple[str, style.Dashes]] = [(style.GREY, "-"), (style.BLACK, "-")]
    lines = [LINES[k % len(LINES)] for k in range(len(models))]
    styles = dict(zip([*models, "all", "none"], [*lines, *reference], strict=True))
    for ax, panel in zip(axes, titles, strict=True):
        part = curves[curves["panel"] == panel]
        band = part[part["model"] == models[0]]
        low, high = (band[end].to_numpy(float) for end in ends)
        ax.fill_between(
            band["threshold"].to_numpy(float), low, high, color=styles[models[0]][0], alpha=0.15, linewidth=0
        )
        for name, (colour, dashes) in styles.items():
            line = part[part["model"] == name]
            ax.plot(line["threshold"], line["net_benefit"], color=colour, linestyle=dashes,
                    linewidth=0.7 if name in ("all", "none") else 1.1)  # fmt: skip
        top = max(part["net_benefit"].max(), band["net_benefit_high"].max())
        top = top if np.isfinite(top) and top > 0 else 0.05
        ax.set_ylim(-0.25 * top, 1.1 * top)
        if part.empty:
            ax.text(0.5, 0.5, "NA: too short a follow-up\nor too few patients", transform=ax.transAxes, ha="center",
                    va="center", fontsize=SMALL_PT)  # fmt: skip
            ax.set_xlim(0, curves["threshold"].max() if len(curves) else 1)
        ax.set(xlabel="Threshold probability", ylabel="Net benefit")
    keys = [Line2D([], [], color=c, linestyle=d, label={"all": "treat all", "none": "treat none"}.get(name, name))
            for name, (c, d) in styles.items()]  # fmt: skip
    _legend(fig, keys, 4)
    style.foot_note(fig, f"Band: {style.level(confidence)} interval of {models[0]}")
    return fig


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

    The numbers at risk (column at_risk: alive without recurrence) stand under the axis. A panel without rows says that
    the cause is not known. ``confidence`` is the level of the bands.
    """
    height = 40.0
    fig, axes = panel_axes(list(titles.values()), 3, height, foot_mm=7.0)
    ticks = np.arange(0, last_month + 1, 12)
    for ax, panel in zip(axes, titles, strict=True):
        part = curves[curves["panel"] == panel]
        for (cause, _), (colour, dashes) in zip(causes.items(), LINES, strict=False):
            line = part[part["cause"] == cause]
            month = line["month"].to_numpy(float)
            ax.fill_between(month, line["low"].to_numpy(float), line["high"].to_numpy(float), step="post", color=colour,
                            alpha=0.15, linewidth=0)  # fmt: skip
            ax.step(month, line["incidence"], where="post", color=colour, linestyle=dashes)
        if part.empty:
            ax.text(0.5, 0.5, "NA: recurrence not known", transform=ax.transAxes, ha="center", fontsize=SMALL_PT)
        ax.set(xlim=(0, last_month), ylim=(0, 1), xlabel=xlabel, ylabel="Cumulative incidence")
        ax.set_xticks(ticks)
        if len(part):
            below = ax.get_xaxis_transform()
            ax.text(0, -9.5 / height, "Number at risk", transform=below, ha="center", va="top", fontsize=SMALL_PT)
            for tick in ticks:
                later = part.loc[part["month"] >= tick, "at_risk"]
                number = int(later.iloc[0]) if len(later) else 0
                ax.text(tick, -12.6 / height, f"{number}", transform=below, ha="center", va="top", fontsize=SMALL_PT)
    keys = [Line2D([], [], color=c, linestyle=d, label=name)
            for name, (c, d) in zip(causes.values(), LINES, strict=False)]  # fmt: skip
    style.top_legend(fig, keys, 2.0)
    style.foot_note(fig, f"Bands: {style.level(confidence)} intervals")
    return fig
