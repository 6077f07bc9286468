"""Fig. 5: time-dependent AUC and C-index of the model beside each definition."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

MONTHS_PER_YEAR = 12
TOP_MM, LEFT_MM, HEIGHT_MM, GAP_MM, VALUES_MM, LEADER_MM = 2.0, 13.0, 42.0, 19.0, 31.0, 6.0
LEAST_CURVE_MM, LEAST_INDEX_MM = 50.0, 24.0


@style.styled
def auc_and_c_index(
    auc: pd.DataFrame,
    c_index: pd.DataFrame,
    sets: Sequence[str],
    labels: Mapping[str, str],
    models: Sequence[str] | None = None,
    outcome: str = "deaths",
    xlabel: str = "Months",
    confidence: float = 0.95,
) -> Figure:
    """A row for each test set: time-dependent AUC on the left, C-index with its interval on the right.

    ``auc`` [set, model, month, auc, low, high, and cases to be written below the months], ``c_index`` [set, model,
    c_index, low, high, n, events] as in auc.csv and c_index.csv. ``sets`` are drawn in their order, with ``labels`` as
    titles. ``models`` (default: all of ``c_index``) are drawn in the order and look of ``style.LOOKS``, the first bold
    and with its band, the simultaneous one dotted where ``auc`` has it; ``confidence``: level
    of the intervals. What is empty is not drawn; a panel without curves, an empty C-index and a figure without sets
    print NA. ValueError for a missing column or set.
    """
    style.need_columns(auc, ["set", "model", "month", "auc", "low", "high"], "frame of AUC")
    style.need_columns(c_index, ["set", "model", "c_index", "low", "high", "n", "events"], "frame of C-indices")
    if not sets:
        return style.figure_without_panels()
    look_of = style.looks(list(models) if models is not None else list(dict.fromkeys(c_index["model"])))
    names = list(look_of)
    if absent := [s for s in sets if s not in set(c_index["set"])]:
        raise ValueError(f"no C-index for set(s) {', '.join(absent)}")
    auc = auc[auc["set"].isin(sets) & auc["model"].isin(names)]
    c_index = c_index[c_index["set"].isin(sets) & c_index["model"].isin(names)]

    # a name beside each curve, then the same beside its C-index
    end_mm = LEADER_MM + max(style.text_width_mm(look.short or name, SMALL_PT) for name, look in look_of.items())
    name_mm = max(style.text_width_mm(name, SMALL_PT) for name in names) + 4.0
    free_mm = style.TWO_COLUMNS_MM - LEFT_MM - end_mm - name_mm - VALUES_MM - 2.0
    index_mm = max(LEAST_INDEX_MM, min(34.0, free_mm - LEAST_CURVE_MM))
    curve_mm = free_mm - index_mm
    right = style.TWO_COLUMNS_MM - VALUES_MM - index_mm
    fig = style.new_figure(style.TWO_COLUMNS_MM, TOP_MM + len(sets) * (HEIGHT_MM + GAP_MM) - 1.0)
    months = auc["month"].to_numpy(float)
    bounds = _limits(c_index[["low", "high", "c_index"]].to_numpy(float), 0.5, 0.05)
    band = auc.loc[auc["model"] == names[0], ["low", "high"]].to_numpy(float).ravel()
    auc_bounds = _limits(np.r_[auc["auc"].to_numpy(float), band], 0.5, 0.05)
    for i, name in enumerate(sets):
        y0 = TOP_MM + i * (HEIGHT_MM + GAP_MM) + 5.0
        ax = style.axes_mm(fig, LEFT_MM, y0, curve_mm, HEIGHT_MM)
        ax.set(ylabel="Time-dependent AUC", ylim=auc_bounds, xlim=(0, months.max() if months.size else 1))
        _auc_panel(ax, auc[auc["set"] == name], look_of)
        if months.size and months.max() >= 2 * MONTHS_PER_YEAR:
            ax.xaxis.set_major_locator(MultipleLocator(MONTHS_PER_YEAR))
        counted = _count_below(ax, auc[auc["set"] == name])
        ax.set_xlabel(f"{xlabel}; below: {outcome} by then" if counted else xlabel)
        index = style.axes_mm(fig, right, y0, index_mm - 2.0, HEIGHT_MM)
        mine = c_index[c_index["set"] == name].set_index("model")
        _c_index_panel(index, mine, look_of)
        index.set(xlabel="C-index", xlim=bounds)
        index.xaxis.set_major_locator(MultipleLocator(0.1 if bounds[1] - bounds[0] <= 0.5 else 0.2))
        first = mine.iloc[0]
        size = f"{labels.get(name, name)} (n = {int(first['n'])}, {int(first['events'])} {outcome})"
        for j, (x0, room) in enumerate(((1.0, right - name_mm - 8.0), (right - name_mm - 2.0, name_mm + 60.0))):
            style.panel_letter(fig, x0, y0 - 5.6, string.ascii_lowercase[2 * i + j])
            style.text_mm(fig, x0 + 4.0, y0 - 5.2, size, room=room, fontsize=TITLE_PT, va="top")
    note = f"Band ({names[0]}) and bars: {style.level(confidence)} intervals"
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


def _auc_panel(ax: Axes, auc: pd.DataFrame, look_of: Mapping[str, style.Look]) -> None:
    ax.axhline(0.5, color=style.GREY, linewidth=0.5, zorder=0.5)
    if auc["auc"].isna().all():
        ax.text(0.5, 0.55, "NA", transform=ax.transAxes, ha="center", fontsize=SMALL_PT)
    ends = {}
    for k, (name, look) in enumerate(look_of.items()):
        curve = auc[(auc["model"] == name) & auc["auc"].notna()].sort_values("month", kind="stable")
        if curve.empty:
            continue
        month, value, low, high = (curve[c].to_numpy(float) for c in ("month", "auc", "low", "high"))
        if k == 0:
            for limit in ("low_simultaneous", "high_simultaneous"):
                if limit in curve:
                    ax.plot(month, curve[limit], color=look.colour, linestyle=(0, (1, 2)), linewidth=0.7, zorder=1)
            ax.fill_between(month, low, high, color=look.colour, alpha=0.13, linewidth=0, zorder=1)
        wide, place = (2.0, 5) if k == 0 else (1.0, 3)
        ax.plot(month, value, color=look.colour, linestyle=look.dashes, linewidth=wide, zorder=place)
        ax.plot(month[-1:], value[-1:], color=look.colour, marker=look.marker, markersize=3.2, zorder=place,
                linestyle="none", clip_on=False)  # fmt: skip
        ends[name] = (float(month[-1]), float(value[-1]))
    style.label_ends(ax, ends, look_of)


def _c_index_panel(ax: Axes, c_index: pd.DataFrame, look_of: Mapping[str, style.Look]) -> None:
    ax.axvline(0.5, color=style.GREY, linewidth=0.5, zorder=0.5)
    for k, (name, look) in enumerate(look_of.items()):
        text = "NA"
        if name in c_index.index and pd.notna(c_index.loc[name, "c_index"]):
            value, low, high = (float(c_index.loc[name, c]) for c in ("c_index", "low", "high"))
            ax.plot([low, high], [k, k], color=look.colour, linewidth=1.6 if k == 0 else 1.0, zorder=2)
            ax.plot(value, k, marker=look.marker, markersize=4.5 if k == 0 else 3.6, color=look.colour, zorder=3)
            text = f"{value:.3f} ({low:.3f}–{high:.3f})"
        ax.text(1.05, k, text, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL_PT,
                fontweight="bold" if k == 0 else "normal")  # fmt: skip
    ax.set_yticks(range(len(look_of)), list(look_of))
    ax.set_ylim(len(look_of) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
