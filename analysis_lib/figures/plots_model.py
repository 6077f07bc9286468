"""Figures of the features and the models: components (Fig. 3), training (4a, 4b), discrimination (5)."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from analysis_lib.figures import plots
from analysis_lib.figures.plots import SMALL_PT, TITLE_PT
from analysis_lib.figures.tables import format_p

# colour, dashes and marker of a model, in drawing order; the first is the one of interest
MODEL_STYLES = [
    (plots.BLACK, "-", "o"),
    (plots.VERMILLION, (0, (5, 1.2)), "s"),
    (plots.ORANGE, (0, (1.2, 0.8)), "^"),
    (plots.SKY, (0, (5, 1, 1, 1)), "D"),
    (plots.GREEN, (0, (3, 1, 1, 1, 1, 1)), "v"),
    (plots.PURPLE, (0, (8, 1.5)), "P"),
    (plots.BLUE, (0, (2, 2)), "X"),
    (plots.GREY, (0, (1, 2)), "<"),
    (plots.BLUE, "-", "h"),
    (plots.GREY, "-", ">"),
]

MONTHS_PER_YEAR = 12

FEW = 50  # a class of fewer patients is drawn larger, or it is not seen among the others

CLASS_STYLES = [(plots.BLUE, "o"), (plots.VERMILLION, "^")]


def pca_frame(scores: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Join scores and verdicts into the frame that ``pca_grid`` draws and that is written beside it.

    ``scores`` [PC1 ...] and ``groups`` (a column a definition: true or false, empty where unknown) share the
    index patient_id; a verdict becomes 1, 0 or empty. KeyError for a patient without verdicts.
    """
    verdicts = groups.loc[scores.index].astype("boolean").astype("Int64")
    return scores.join(verdicts).rename_axis("patient_id").reset_index()


@plots.styled
def pca_grid(
    scores: pd.DataFrame,
    separations: pd.DataFrame,
    explained: pd.DataFrame | None = None,
    classes: Sequence[str] = ("No sarcopenia", "Sarcopenia"),
    confidence: float = 0.95,
) -> Figure:
    """First three principal components, a column of two panels (PC2 and PC3 against PC1) for each definition.

    ``scores`` [PC1, PC2, PC3, <definition> ...]: one row a patient, each definition's column 0 or 1 (empty:
    not drawn). ``separations`` [definition, title, auc, low, high]: one row a column of panels, in drawing
    order; cross-validated AUC of a rule on the components with its interval and, where there is a column
    p_permutation, its P; empty where it cannot be computed. ``explained`` [component, fraction]: share of variance for
    the axis labels. ``confidence``: level of the intervals. ValueError for a missing column.
    """
    plots.need_columns(separations, ["definition", "title", "auc", "low", "high"], "frame of separations")
    plots.need_columns(scores, ["PC1", "PC2", *separations["definition"]], "frame of scores")
    components = [c for c in ("PC2", "PC3") if c in scores.columns]
    share = {} if explained is None else dict(zip(explained["component"], explained["fraction"], strict=True))
    count = len(separations)
    with_p = "p_permutation" in separations
    left, top, gap = 12.0, 18.5 + 3.2 * with_p, 3.0
    side = (plots.TWO_COLUMNS_MM - left - 2.0 - gap * (count - 1)) / count
    height = min(side * 1.1, 50.0)
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + len(components) * (height + gap) + 6.0)
    for i, row in enumerate(separations.itertuples(index=False)):
        x0 = left + i * (side + gap)
        for j, component in enumerate(components):
            ax = plots.axes_mm(fig, x0, top + j * (height + gap), side, height)
            _scatter(ax, scores, component, scores[row.definition])
            lowest = component == components[-1]
            ax.set_xlabel(_component_label("PC1", share) if lowest else "")
            ax.set_ylabel("" if i else _component_label(component, share))
            ax.tick_params(labelbottom=lowest, labelleft=i == 0)
        found = "separation: NA"
        if pd.notna(row.auc):
            found = f"AUC {row.auc:.2f} ({row.low:.2f}–{row.high:.2f})"
        size = plots.fitting_pt(str(row.title), side + 1.0, TITLE_PT)
        plots.text_mm(fig, x0, 13.2, str(row.title), fontsize=size, va="bottom")
        plots.text_mm(fig, x0, 16.9, found, fontsize=SMALL_PT, va="bottom")
        if with_p:
            p_text = f"permutation {format_p(row.p_permutation)}"
            plots.text_mm(fig, x0, 20.1, p_text, fontsize=SMALL_PT, va="bottom")
        plots.panel_letter(fig, x0, 6.0, string.ascii_lowercase[i])
    keys = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=3.5, label=label)
        for label, (colour, marker) in zip(classes, CLASS_STYLES, strict=True)
    ]
    plots.top_legend(fig, keys, left)
    plots.foot_note(
        fig, f"AUC of a linear rule on the components, cross-validated ({plots.level(confidence)} interval)"
    )
    return fig


def _component_label(name: str, share: Mapping[str, float]) -> str:
    return f"{name} ({share[name]:.0%} of variance)" if name in share else name


def _scatter(ax: Axes, scores: pd.DataFrame, component: str, verdict: pd.Series) -> None:
    known = [scores[(verdict == value).fillna(False).to_numpy(bool)] for value in (0, 1)]
    # the smaller class lies on top, or a few patients vanish under many
    order = (0, 1) if len(known[1]) <= len(known[0]) else (1, 0)
    for rank, value in enumerate(order):
        colour, marker = CLASS_STYLES[value]
        part = known[value]
        ax.scatter(
            part["PC1"],
            part[component],
            s=5 if len(part) >= FEW else 11,
            marker=marker,
            color=colour,
            alpha=0.6 if len(part) >= FEW else 0.9,
            linewidths=0,
            zorder=2 + rank,
        )
    for axis, name in ((ax.xaxis, "PC1"), (ax.yaxis, component)):
        values = scores[name].to_numpy(float)
        room = 0.05 * (values.max() - values.min() or 1.0)
        axis.set_view_interval(values.min() - room, values.max() + room, ignore=True)
        axis.set_major_locator(MaxNLocator(4))


@plots.styled
def training_curves(history_autoencoder: pd.DataFrame, history_network: pd.DataFrame) -> Figure:
    """Training of the AutoEncoder (a: loss) and of TFDeepSurv (b: loss and C-index) against steps.

    ``history_autoencoder`` [step, train_loss, val_loss]. ``history_network`` [network, step, train_loss,
    val_loss, train_c_index, val_c_index]: each network of the ensemble is a thin line, their mean a thick one
    as far as all of them ran; the C-index may be empty at most steps. ValueError for a missing column.
    """
    plots.need_columns(history_autoencoder, ["step", "train_loss", "val_loss"], "history of the AutoEncoder")
    plots.need_columns(
        history_network,
        ["network", "step", "train_loss", "val_loss", "train_c_index", "val_c_index"],
        "history of the network",
    )
    top, height, left, between = 10.0, 42.0, 13.0, 15.0
    width = (plots.TWO_COLUMNS_MM - left - 2 * between - 3.0) / 3
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + height + 10.0)
    ae, loss, c_index = (plots.axes_mm(fig, left + i * (width + between), top, width, height) for i in range(3))
    one = history_autoencoder.assign(network=0)
    panels = [
        (ae, one, "loss", "Reconstruction loss", "AutoEncoder"),
        (loss, history_network, "loss", "Negative log partial likelihood", "TFDeepSurv, loss"),
        (c_index, history_network, "c_index", "C-index", "TFDeepSurv, C-index"),
    ]
    kinds = [("train", plots.BLUE, "-"), ("val", plots.VERMILLION, (0, (4, 1.2)))]
    for i, (ax, history, measure, ylabel, title) in enumerate(panels):
        for kind, colour, dashes in kinds:
            _lines_by_network(ax, history, f"{kind}_{measure}", colour, dashes)
        ax.set(xlabel="Step", ylabel=ylabel)
        ax.set_xlim(left=0)
        x0 = left + i * (width + between)
        plots.text_mm(fig, x0, top - 2.0, title, fontsize=TITLE_PT, va="bottom")
        if i < 2:
            plots.panel_letter(fig, x0 - left + 1.0, top - 5.6, "ab"[i])
    losses = one[["train_loss", "val_loss"]].to_numpy(float)
    positive = bool((losses[np.isfinite(losses)] > 0).all())
    ae.set_yscale("log" if positive else "linear")
    if positive:
        plots.plain_log_ticks(ae)
    keys = [
        Line2D([], [], color=colour, linestyle=dashes, label=label)
        for label, (_, colour, dashes) in zip(("Training", "Validation"), kinds, strict=True)
    ]
    if history_network["network"].astype(str).nunique() > 1:
        keys.append(Line2D([], [], color=plots.GREY, linewidth=0.5, label="single networks"))
    plots.top_legend(fig, keys, left)
    return fig


def _lines_by_network(ax: Axes, history: pd.DataFrame, column: str, colour: str, dashes: str | tuple) -> None:
    known = history[history[column].notna()]
    by_network = known.pivot(index="step", columns="network", values=column).sort_index()
    if by_network.shape[1] > 1:
        for network in by_network:
            line = by_network[network].dropna()
            ax.plot(line.index, line, color=colour, linewidth=0.5, alpha=0.45, zorder=2)
    # a mean over those still running would jump where one stops early
    middle = by_network.dropna().mean(axis=1)
    ax.plot(middle.index, middle, color=colour, linestyle=dashes, linewidth=1.4, zorder=3)


@plots.styled
def auc_and_c_index(
    auc: pd.DataFrame,
    c_index: pd.DataFrame,
    sets: Sequence[str],
    labels: Mapping[str, str],
    models: Sequence[str] | None = None,
    model_labels: Mapping[str, str] | None = None,
    outcome: str = "deaths",
    xlabel: str = "Months after surgery",
    confidence: float = 0.95,
) -> Figure:
    """A row for each test set: time-dependent AUC on the left, C-index with its interval on the right.

    ``auc`` [set, model, month, auc, low, high], ``c_index`` [set, model, c_index, low, high, n, events] as in
    auc.csv and c_index.csv. ``sets`` are drawn in their order, with ``labels`` as titles. ``models``: drawing
    order, the first is drawn bold and with its band, the simultaneous one dotted where ``auc`` has it (default:
    order in ``c_index``); ``model_labels``: their names in the legend; ``confidence``: level of the intervals. What
    is empty is not drawn; a panel without curves, an empty C-index and a figure without sets print NA. ValueError for
    a missing column or set.
    """
    plots.need_columns(auc, ["set", "model", "month", "auc", "low", "high"], "frame of AUC")
    plots.need_columns(c_index, ["set", "model", "c_index", "low", "high", "n", "events"], "frame of C-indices")
    if not sets:
        return plots.figure_without_panels()
    names = list(models) if models is not None else list(dict.fromkeys(c_index["model"]))
    if len(names) > len(MODEL_STYLES):
        raise ValueError(f"at most {len(MODEL_STYLES)} models can be told apart, got {len(names)}")
    if absent := [s for s in sets if s not in set(c_index["set"])]:
        raise ValueError(f"no C-index for set(s) {', '.join(absent)}")
    shown = {name: (model_labels or {}).get(name, name) for name in names}
    auc = auc[auc["set"].isin(sets) & auc["model"].isin(names)]
    c_index = c_index[c_index["set"].isin(sets) & c_index["model"].isin(names)]

    legend_rows = -(-len(names) // 6)
    columns = -(-len(names) // legend_rows)
    top, height, gap, left, values = 4.0 + 4.0 * legend_rows, 38.0, 16.0, 13.0, 28.5
    name_mm = max(plots.text_width_mm(name, SMALL_PT) for name in names) + 3.5
    curve_mm = 76.0 if name_mm < 24 else 64.0  # long names take their room from the curves
    right_left = left + curve_mm + 8.0 + name_mm
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + len(sets) * (height + gap) - 2.0)
    months = auc["month"].to_numpy(float)
    bounds = _limits(c_index[["low", "high", "c_index"]].to_numpy(float), 0.5, 0.05)
    auc_bounds = _limits(
        np.r_[auc["auc"].to_numpy(float), auc[auc["model"] == names[0]][["low", "high"]].to_numpy(float).ravel()],
        0.5,
        0.05,
    )
    for i, name in enumerate(sets):
        y0 = top + i * (height + gap) + 5.0
        left_ax = plots.axes_mm(fig, left, y0, curve_mm, height)
        _auc_panel(left_ax, auc[auc["set"] == name], names)
        left_ax.set(xlabel=xlabel, ylabel="Time-dependent AUC", ylim=auc_bounds)
        left_ax.set_xlim(0, months.max() if months.size else 1)
        if months.size and months.max() >= 2 * MONTHS_PER_YEAR:
            left_ax.xaxis.set_major_locator(MultipleLocator(MONTHS_PER_YEAR))
        right_ax = plots.axes_mm(fig, right_left, y0, plots.TWO_COLUMNS_MM - right_left - values - 2.0, height)
        mine = c_index[c_index["set"] == name].set_index("model")
        _c_index_panel(right_ax, mine, names)
        right_ax.set(xlabel="C-index", xlim=bounds)
        wide = bounds[1] - bounds[0]
        right_ax.xaxis.set_major_locator(MultipleLocator(0.1 if wide <= 0.5 else 0.2))
        first = mine.iloc[0]
        size = f"{labels.get(name, name)} (n = {int(first['n'])}, {int(first['events'])} {outcome})"
        for j, x0 in enumerate((left, right_left)):
            letter_x = x0 - (12.0 if j == 0 else name_mm + 2.0)
            plots.panel_letter(fig, letter_x, y0 - 5.6, string.ascii_lowercase[2 * i + j])
            plots.text_mm(fig, letter_x + 4.0, y0 - 5.2, size, fontsize=TITLE_PT, va="top")
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
    plots.top_legend(fig, keys, 2.0, handlelength=3.2, columns=columns)
    note = f"Grey band ({shown[names[0]]}) and bars: {plots.level(confidence)} intervals"
    plots.foot_note(fig, note + ("; dotted: simultaneous band" if "low_simultaneous" in auc else ""))
    return fig


def _limits(values: np.ndarray, include: float, step: float) -> tuple[float, float]:
    """Axis limits on a grid of ``step`` that hold every finite value and ``include``."""
    finite = np.append(values[np.isfinite(values)], include)
    # a little room, so that nothing ends on the frame
    low, high = finite.min() - step / 5, finite.max() + step / 5
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _auc_panel(ax: Axes, auc: pd.DataFrame, names: Sequence[str]) -> None:
    ax.axhline(0.5, color=plots.GREY, linewidth=0.5, zorder=0.5)
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
    ax.axvline(0.5, color=plots.GREY, linewidth=0.5, zorder=0.5)
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
