"""Figures of the features and the models: components (Fig. 3), training (4a, 4b), discrimination (5), the letter's
numbers beside ours."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullLocator

from analysis_lib import plots
from analysis_lib.plots import SMALL_PT, TEXT_PT, TITLE_PT

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
]

CLASS_STYLES = [(plots.BLUE, "o"), (plots.VERMILLION, "^")]


@plots.styled
def pca_grid(
    scores: pd.DataFrame,
    separations: pd.DataFrame,
    explained: pd.DataFrame | None = None,
    classes: Sequence[str] = ("No sarcopenia", "Sarcopenia"),
) -> Figure:
    """First three principal components, a column of two panels (PC2 and PC3 against PC1) for each definition.

    ``scores`` [PC1, PC2, PC3, <definition> ...]: one row a patient, each definition's column 0 or 1 (empty: not
    drawn). ``separations`` [definition, title, auc, low, high]: one row a column of panels, in drawing order;
    cross-validated AUC of a rule on the components with its interval, empty where it cannot be computed.
    ``explained`` [component, fraction]: share of variance for the axis labels. ValueError for a missing column.
    """
    plots.need_columns(separations, ["definition", "title", "auc", "low", "high"], "frame of separations")
    plots.need_columns(scores, ["PC1", "PC2", "PC3", *separations["definition"]], "frame of scores")
    share = {} if explained is None else dict(zip(explained["component"], explained["fraction"], strict=True))
    count = len(separations)
    left, top, gap = 12.0, 15.0, 3.0
    side = (plots.TWO_COLUMNS_MM - left - 2.0 - gap * (count - 1)) / count
    height = min(side * 1.1, 50.0)
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + 2 * height + gap + 9.0)
    for i, row in enumerate(separations.itertuples(index=False)):
        x0 = left + i * (side + gap)
        for j, component in enumerate(("PC2", "PC3")):
            ax = plots.axes_mm(fig, x0, top + j * (height + gap), side, height)
            _scatter(ax, scores, component, scores[row.definition])
            ax.set_xlabel(_component_label("PC1", share) if j else "")
            ax.set_ylabel("" if i else _component_label(component, share))
            ax.tick_params(labelbottom=bool(j), labelleft=i == 0)
        found = "separation: NA"
        if pd.notna(row.auc):
            found = f"AUC {row.auc:.2f} ({row.low:.2f}–{row.high:.2f})"
        plots.text_mm(fig, x0 + side / 2, 9.2, str(row.title), fontsize=TITLE_PT, ha="center", va="bottom")
        plots.text_mm(fig, x0 + side / 2, 13.4, found, fontsize=SMALL_PT, ha="center", va="bottom")
        plots.panel_letter(fig, x0 - 2.5 if i else 1.0, 6.2, string.ascii_lowercase[i])
    keys = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=3.5, label=label)
        for label, (colour, marker) in zip(classes, CLASS_STYLES, strict=True)
    ]
    _top_legend(fig, keys, left)
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
            s=5,
            marker=marker,
            color=colour,
            alpha=0.6,
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

    ``history_autoencoder`` [step, train_loss, val_loss]. ``history_network`` [network, step, train_loss, val_loss,
    train_c_index, val_c_index]: each network of the ensemble is a thin line, rows with network 'mean' are a thick
    one; the C-index may be empty at most steps. ValueError for a missing column.
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
    ae, loss, c_index = (
        plots.axes_mm(fig, left + i * (width + between), top, width, height) for i in range(3)
    )
    one = history_autoencoder.assign(network="mean")
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
            plots.panel_letter(fig, x0 - left + 1.0, top - 5.2, "ab"[i])
    positive = (one[["train_loss", "val_loss"]].to_numpy(float) > 0).all()
    ae.set_yscale("log" if positive else "linear")
    if positive:
        _readable_log_ticks(ae)
    keys = [
        Line2D([], [], color=colour, linestyle=dashes, label=label)
        for label, (_, colour, dashes) in zip(("Training", "Validation"), kinds, strict=True)
    ]
    if history_network["network"].astype(str).nunique() > 1:
        keys.append(Line2D([], [], color=plots.GREY, linewidth=0.5, label="single networks"))
    _top_legend(fig, keys, left)
    return fig


def _lines_by_network(
    ax: Axes, history: pd.DataFrame, column: str, colour: str, dashes: str | tuple
) -> None:
    known = history[history[column].notna()]
    for network, part in known.groupby(known["network"].astype(str), sort=True):
        part = part.sort_values("step", kind="stable")
        if network == "mean":
            ax.plot(part["step"], part[column], color=colour, linestyle=dashes, linewidth=1.4, zorder=3)
        else:
            ax.plot(part["step"], part[column], color=colour, linewidth=0.5, alpha=0.45, zorder=2)


@plots.styled
def auc_and_c_index(
    auc: pd.DataFrame,
    c_index: pd.DataFrame,
    sets: Mapping[str, str],
    models: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    outcome: str = "deaths",
    xlabel: str = "Months after surgery",
) -> Figure:
    """A row for each test set: time-dependent AUC on the left, C-index with its interval on the right.

    ``auc`` [set, model, month, auc, low, high], ``c_index`` [set, model, c_index, low, high, n, events] as in
    auc.csv and c_index.csv. ``sets``: the sets to draw and their labels, in order. ``models``: drawing order, the
    first is drawn bold and with its band (default: order in ``c_index``). ``labels``: names of models for the
    legend. What is empty is not drawn; an empty C-index prints NA. ValueError for a missing column or set.
    """
    plots.need_columns(auc, ["set", "model", "month", "auc", "low", "high"], "frame of AUC")
    plots.need_columns(
        c_index, ["set", "model", "c_index", "low", "high", "n", "events"], "frame of C-indices"
    )
    names = list(models) if models is not None else list(dict.fromkeys(c_index["model"]))
    if len(names) > len(MODEL_STYLES):
        raise ValueError(f"at most {len(MODEL_STYLES)} models can be told apart, got {len(names)}")
    if absent := [s for s in sets if s not in set(c_index["set"])]:
        raise ValueError(f"no C-index for set(s) {', '.join(absent)}")
    labels = labels or {}
    shown = {name: labels.get(name, name) for name in names}
    auc = auc[auc["set"].isin(sets) & auc["model"].isin(names)]
    c_index = c_index[c_index["set"].isin(sets) & c_index["model"].isin(names)]

    top, height, gap, left, values = 8.0, 38.0, 16.0, 13.0, 27.0
    name_mm = max(plots.text_width_mm(name, SMALL_PT) for name in names) + 3.5
    right_left = 97.0 + name_mm
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + len(sets) * (height + gap) - 2.0)
    months = auc["month"].to_numpy(float)
    bounds = _limits(c_index[["low", "high", "c_index"]].to_numpy(float), 0.5, 0.05)
    auc_bounds = _limits(
        np.r_[auc["auc"].to_numpy(float), auc[auc["model"] == names[0]][["low", "high"]].to_numpy(float).ravel()],
        0.5,
        0.05,
    )
    for i, (name, label) in enumerate(sets.items()):
        y0 = top + i * (height + gap) + 5.0
        left_ax = plots.axes_mm(fig, left, y0, 76.0, height)
        _auc_panel(left_ax, auc[auc["set"] == name], names)
        left_ax.set(xlabel=xlabel, ylabel="Time-dependent AUC", ylim=auc_bounds)
        left_ax.set_xlim(0, months.max() if months.size else 1)
        left_ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 1.2, 2, 2.4, 3, 6, 10], integer=True))
        right_ax = plots.axes_mm(
            fig, right_left, y0, plots.TWO_COLUMNS_MM - right_left - values - 2.0, height
        )
        mine = c_index[c_index["set"] == name].set_index("model")
        _c_index_panel(right_ax, mine, names)
        right_ax.set(xlabel="C-index", xlim=bounds)
        right_ax.xaxis.set_major_locator(MaxNLocator(4))
        first = mine.iloc[0]
        size = f"{label} (n = {int(first['n'])}, {int(first['events'])} {outcome})"
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
    _top_legend(fig, keys, 2.0, handlelength=3.2)
    return fig


def _limits(values: np.ndarray, include: float, step: float) -> tuple[float, float]:
    """Axis limits on a grid of ``step`` that hold every finite value and ``include``."""
    finite = np.append(values[np.isfinite(values)], include)
    return float(np.floor(finite.min() / step) * step), float(np.ceil(finite.max() / step) * step)


def _auc_panel(ax: Axes, auc: pd.DataFrame, names: Sequence[str]) -> None:
    ax.axhline(0.5, color=plots.GREY, linewidth=0.5, zorder=0.5)
    for k, (name, (colour, dashes, _)) in enumerate(zip(names, MODEL_STYLES, strict=False)):
        curve = auc[(auc["model"] == name) & auc["auc"].notna()].sort_values("month", kind="stable")
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
            1.03,
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


@plots.styled
def paper_comparison(
    frame: pd.DataFrame,
    log_groups: Sequence[str] = ("Hazard ratio",),
    percent_groups: Sequence[str] = ("Prevalence",),
    group_labels: Mapping[str, str] | None = None,
) -> Figure:
    """Our estimate with its interval and the published value, one row an item, one panel a group.

    ``frame`` [group, item, published, ours, low, high, inside] in drawing order: ``group`` names the panel (its axis
    label is in ``group_labels`` or the name itself), ``inside`` is true where the published value lies in our
    interval, empty where there is nothing to compare. Groups in ``log_groups`` have a logarithmic axis, those in
    ``percent_groups`` are fractions shown as percentages. ValueError for a missing column.
    """
    plots.need_columns(frame, ["group", "item", "published", "ours", "low", "high", "inside"], "comparison")
    groups = list(dict.fromkeys(frame["group"]))
    row_mm, head_mm, axis_mm, top = 3.4, 6.0, 10.0, 7.0
    heights = {g: head_mm + row_mm * int((frame["group"] == g).sum()) + axis_mm for g in groups}
    # every panel goes to the shorter of the two columns, the tallest first
    used = [0.0, 0.0]
    places: dict[str, tuple[int, float]] = {}
    for group in sorted(groups, key=lambda g: -heights[g]):
        column = int(used[1] < used[0])
        places[group] = (column, used[column])
        used[column] += heights[group]
    fig = plots.new_figure(plots.TWO_COLUMNS_MM, top + max(used))
    half = plots.TWO_COLUMNS_MM / 2
    letters = dict(zip(sorted(groups, key=lambda g: places[g]), string.ascii_lowercase, strict=False))
    for group in groups:
        part = frame[frame["group"] == group].reset_index(drop=True)
        column, y = places[group]
        name_mm = max(plots.text_width_mm(str(item), SMALL_PT) for item in part["item"]) + 4.0
        ax = plots.axes_mm(
            fig, column * half + name_mm, top + y + head_mm, half - name_mm - 5.0, row_mm * len(part)
        )
        factor = 100.0 if group in percent_groups else 1.0
        _comparison_panel(ax, part, factor, group in log_groups)
        ax.set_xlabel((group_labels or {}).get(group, group + (", %" if factor != 1.0 else "")))
        plots.panel_letter(fig, column * half + 1.0, top + y + 0.9, letters[group])
        plots.text_mm(fig, column * half + 5.0, top + y + 1.3, group, fontsize=TITLE_PT, va="top")
    keys = [
        Line2D([], [], color=plots.BLUE, marker="o", markersize=3.4, linewidth=1.0, label="this run, interval"),
        *(
            Line2D([], [], linestyle="none", marker=m, markersize=4.2, color=c, markerfacecolor="white", label=t)
            for m, c, t in (
                ("D", plots.BLACK, "published, inside the interval"),
                ("s", plots.VERMILLION, "published, outside"),
            )
        ),
    ]
    _top_legend(fig, keys, 2.0)
    return fig


def _comparison_panel(ax: Axes, part: pd.DataFrame, factor: float, log: bool) -> None:
    rows = np.arange(len(part))
    ours, low, high, published = (
        part[c].to_numpy(float) * factor for c in ("ours", "low", "high", "published")
    )
    ax.hlines(rows, low, high, color=plots.BLUE, linewidth=1.0, zorder=2)
    ax.plot(ours, rows, linestyle="none", marker="o", markersize=3.4, color=plots.BLUE, zorder=3)
    for k in rows:
        outside = pd.notna(part.loc[k, "inside"]) and not bool(part.loc[k, "inside"])
        ax.plot(
            published[k],
            k,
            marker="s" if outside else "D",
            markersize=4.2,
            markerfacecolor="none",
            markeredgewidth=0.8,
            color=plots.VERMILLION if outside else plots.BLACK,
            zorder=4,
        )
    ax.set_yticks(rows, part["item"].astype(str))
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    if log:
        ax.set_xscale("log")
        ax.axvline(1.0, color=plots.GREY, linewidth=0.5, zorder=0.5)
        _readable_log_ticks(ax, "x")
    for k in rows[1::2]:
        ax.axhspan(k - 0.5, k + 0.5, color="#000000", alpha=0.035, linewidth=0, zorder=0)


def _readable_log_ticks(ax: Axes, which: str = "y") -> None:
    """Ticks at 1, 2 and 5 times the powers of ten within the limits, written as plain numbers."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FormatStrFormatter("%g"))


def _top_legend(fig: Figure, keys: list[Line2D], left: float, handlelength: float = 2.4) -> None:
    """One line of keys along the upper edge."""
    width, height = plots.size_mm(fig)
    fig.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(left / width, 1 - 0.8 / height),
        borderaxespad=0,
        ncols=len(keys),
        handlelength=handlelength,
        columnspacing=1.6,
        handletextpad=0.5,
        fontsize=TEXT_PT,
    )
