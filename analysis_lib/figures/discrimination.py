"""Fig. 5: time-dependent AUC and C-index of the model beside each definition."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

# colour, dashes and marker of a model, in drawing order; the first is the one of interest
MODEL_STYLES: list[tuple[str, style.Dashes, str]] = [
    (style.BLACK, "-", "o"),
    (style.VERMILLION, (0, (5, 1.2)), "s"),
    (style.ORANGE, (0, (1.2, 0.8)), "^"),
    (style.SKY, (0, (5, 1, 1, 1)), "D"),
    (style.GREEN, (0, (3, 1, 1, 1, 1, 1)), "v"),
    (style.PURPLE, (0, (8, 1.5)), "P"),
    (style.BLUE, (0, (2, 2)), "X"),
    (style.GREY, (0, (1, 2)), "<"),
    (style.BLUE, "-", "h"),
    (style.GREY, "-", ">"),
    (style.VERMILLION, "-", "p"),
    (style.GREEN, "-", "d"),
    (style.ORANGE, "-", "*"),
]


MONTHS_PER_YEAR = 12
KEY_MM = 13.0  # the line of a legend's entry, and what keeps it from the next


@style.styled
def auc_and_c_index(
    auc: pd.DataFrame,
    c_index: pd.DataFrame,
    sets: Sequence[str],
    labels: Mapping[str, str],
    models: Sequence[str] | None = None,
    model_labels: Mapping[str, str] | None = None,
    outcome: str = "deaths",
    xlabel: str = "Months",
    confidence: float = 0.95,
) -> Figure:
    """A row for each test set: time-dependent AUC on the left, C-index with its interval on the right.

    ``auc`` [set, model, month, auc, low, high, and cases to be written below the months], ``c_index`` [set, model,
    c_index, low, high, n, events] as in auc.csv and c_index.csv. ``sets`` are drawn in their order, with ``labels`` as
    titles. ``models``: drawing order, the first is drawn bold and with its band, the simultaneous one dotted where
    ``auc`` has it (default: order in ``c_index``); ``model_labels``: their names in the legend; ``confidence``: level
    of the intervals. What is empty is not drawn; a panel without curves, an empty C-index and a figure without sets
    print NA. ValueError for a missing column or set.
    """
    style.need_columns(auc, ["set", "model", "month", "auc", "low", "high"], "frame of AUC")
    style.need_columns(c_index, ["set", "model", "c_index", "low", "high", "n", "events"], "frame of C-indices")
    if not sets:
        return style.figure_without_panels()
    names = list(models) if models is not None else list(dict.fromkeys(c_index["model"]))
    if len(names) > len(MODEL_STYLES):
        raise ValueError(f"at most {len(MODEL_STYLES)} models can be told apart, got {len(names)}")
    if absent := [s for s in sets if s not in set(c_index["set"])]:
        raise ValueError(f"no C-index for set(s) {', '.join(absent)}")
    shown = {name: (model_labels or {}).get(name, name) for name in names}
    auc = auc[auc["set"].isin(sets) & auc["model"].isin(names)]
    c_index = c_index[c_index["set"].isin(sets) & c_index["model"].isin(names)]

    wide_mm = max(style.text_width_mm(str(label), SMALL_PT) for label in shown.values()) + KEY_MM
    legend_rows = -(-len(names) // max(1, min(6, int((style.TWO_COLUMNS_MM - 4.0) / wide_mm))))
    columns = -(-len(names) // legend_rows)
    top, height, gap, left, values = 4.0 + 4.0 * legend_rows, 38.0, 18.5, 13.0, 28.5
    name_mm = max(style.text_width_mm(name, SMALL_PT) for name in names) + 3.5
    curve_mm = 76.0 if name_mm < 24 else 64.0  # long names take their room from the curves
    right_left = left + curve_mm + 8.0 + name_mm
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + len(sets) * (height + gap) - 2.0)
    months = auc["month"].to_numpy(float)
    bounds = _limits(c_index[["low", "high", "c_index"]].to_numpy(float), 0.5, 0.05)
    auc_bounds = _limits(
        np.r_[auc["auc"].to_numpy(float), auc[auc["model"] == names[0]][["low", "high"]].to_numpy(float).ravel()],
        0.5,
        0.05,
    )
    for i, name in enumerate(sets):
        y0 = top + i * (height + gap) + 5.0
        left_ax = style.axes_mm(fig, left, y0, curve_mm, height)
        _auc_panel(left_ax, auc[auc["set"] == name], names)
        left_ax.set(ylabel="Time-dependent AUC", ylim=auc_bounds)
        left_ax.set_xlim(0, months.max() if months.size else 1)
        if months.size and months.max() >= 2 * MONTHS_PER_YEAR:
            left_ax.xaxis.set_major_locator(MultipleLocator(MONTHS_PER_YEAR))
        counted = _count_below(left_ax, auc[auc["set"] == name])
        left_ax.set_xlabel(f"{xlabel}; below: {outcome} by then" if counted else xlabel)
        right_ax = style.axes_mm(fig, right_left, y0, style.TWO_COLUMNS_MM - right_left - values - 2.0, height)
        mine = c_index[c_index["set"] == name].set_index("model")
        _c_index_panel(right_ax, mine, names)
        right_ax.set(xlabel="C-index", xlim=bounds)
        wide = bounds[1] - bounds[0]
        right_ax.xaxis.set_major_locator(MultipleLocator(0.1 if wide <= 0.5 else 0.2))
        first = mine.iloc[0]
        size = f"{labels.get(name, name)} (n = {int(first['n'])}, {int(first['events'])} {outcome})"
        for j, x0 in enumerate((left, right_left)):
            letter_x = x0 - (12.0 if j == 0 else name_mm + 2.0)
            style.panel_letter(fig, letter_x, y0 - 5.6, string.ascii_lowercase[2 * i + j])
            style.text_mm(fig, letter_x + 4.0, y0 - 5.2, size, fontsize=TITLE_PT, va="top")
    keys = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=dashes,
            marker=marker,
            markersize=3.2,
            linewidth=2.0 if k == 0 else 1.0,
            label=shown[name],
        )
        for k, (name, (colour, dashes, marker)) in enumerate(zip(names, MODEL_STYLES, strict=False))
    ]
    style.top_legend(fig, keys, 2.0, handlelength=3.2, columns=columns)
    note = f"Grey band ({shown[names[0]]}) and bars: {style.level(confidence)} intervals"
    style.foot_note(fig, note + ("; dotted: simultaneous band" if "low_simultaneous" in auc else ""))
    return fig


def _limits(values: np.ndarray, include: float, step: float) -> tuple[float, float]:
    """Axis limits on a grid of ``step`` that hold every finite value and ``include``."""
    finite = np.append(values[np.isfinite(values)], include)
    # a little room, so that nothing ends on the frame
    low, high = finite.min() - step / 5, finite.max() + step / 5
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _count_below(ax: Axes, auc: pd.DataFrame) -> bool:
    """Write the patients whose event has come by each labelled month below it; False where ``auc`` does not say."""
    if "cases" not in auc or auc.empty:
        return False
    cases = auc.drop_duplicates("month").set_index("month")["cases"]
    last = ax.get_xlim()[1]
    ticks = [tick for tick in ax.get_xticks() if 0 <= tick <= last]
    ax.set_xticks(ticks, [f"{tick:g}\n{int(cases[tick])}" if tick in cases.index else f"{tick:g}\n" for tick in ticks])
    return True


def _auc_panel(ax: Axes, auc: pd.DataFrame, names: Sequence[str]) -> None:
    ax.axhline(0.5, color=style.GREY, linewidth=0.5, zorder=0.5)
    if auc["auc"].isna().all():
        ax.text(0.5, 0.55, "NA", transform=ax.transAxes, ha="center", fontsize=SMALL_PT)
    for k, (name, (colour, dashes, _)) in enumerate(zip(names, MODEL_STYLES, strict=False)):
        curve = auc[(auc["model"] == name) & auc["auc"].notna()].sort_values("month", kind="stable")
        if k == 0 and "low_simultaneous" in curve:
            for limit in ("low_simultaneous", "high_simultaneous"):
                ax.plot(curve["month"], curve[limit], color=colour, linestyle=(0, (1, 2)), linewidth=0.7, zorder=1)
        if k == 0:
            ax.fill_between(
                curve["month"].to_numpy(float),
                curve["low"].to_numpy(float),
                curve["high"].to_numpy(float),
                color=colour,
                alpha=0.12,
                linewidth=0,
                zorder=1,
            )
        ax.plot(
            curve["month"],
            curve["auc"],
            color=colour,
            linestyle=dashes,
            linewidth=2.0 if k == 0 else 1.0,
            zorder=4 if k == 0 else 3,
        )


def _c_index_panel(ax: Axes, c_index: pd.DataFrame, names: Sequence[str]) -> None:
    ax.axvline(0.5, color=style.GREY, linewidth=0.5, zorder=0.5)
    for k, (name, (colour, _, marker)) in enumerate(zip(names, MODEL_STYLES, strict=False)):
        text = "NA"
        if name in c_index.index and pd.notna(c_index.loc[name, "c_index"]):
            value, low, high = (float(c_index.loc[name, c]) for c in ("c_index", "low", "high"))
            ax.plot([low, high], [k, k], color=colour, linewidth=1.6 if k == 0 else 1.0, zorder=2)
            ax.plot(value, k, marker=marker, markersize=4.5 if k == 0 else 3.6, color=colour, zorder=3)
            text = f"{value:.3f} ({low:.3f}–{high:.3f})"
        ax.text(
            1.05,
            k,
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            fontsize=SMALL_PT,
            fontweight="bold" if k == 0 else "normal",
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
