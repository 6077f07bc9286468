"""Fig. 4a, b: how AutoEncoder and Cox network learnt."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis_lib.figures import style
from analysis_lib.figures.style import TITLE_PT


@style.styled
def training_curves(history_autoencoder: pd.DataFrame, history_network: pd.DataFrame) -> Figure:
    """Training of the AutoEncoder (a: loss) and of TFDeepSurv (b: loss and C-index) against steps.

    ``history_autoencoder`` [step, train_loss, val_loss]. ``history_network`` [network, step, train_loss,
    val_loss, train_c_index, val_c_index]: each network of the ensemble is a thin line, its end where it stopped a dot;
    their mean a thick one as far as all of them ran. A ring marks the lowest validation loss, whose weights are
    kept. The C-index may be empty at most steps. ValueError for a missing column.
    """
    style.need_columns(history_autoencoder, ["step", "train_loss", "val_loss"], "history of the AutoEncoder")
    style.need_columns(
        history_network,
        ["network", "step", "train_loss", "val_loss", "train_c_index", "val_c_index"],
        "history of the network",
    )
    # the mean of the history goes on when single networks have stopped
    history_network = history_network[history_network["network"].astype(str) != "mean"]
    top, height, left, between = 10.0, 42.0, 13.0, 15.0
    width = (style.TWO_COLUMNS_MM - left - 2 * between - 3.0) / 3
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + height + 10.0)
    ae, loss, c_index = (style.axes_mm(fig, left + i * (width + between), top, width, height) for i in range(3))
    one = history_autoencoder.assign(network=0)
    panels = [
        (ae, one, "loss", "Reconstruction loss", "AutoEncoder"),
        (loss, history_network, "loss", "Negative log partial likelihood", "TFDeepSurv, loss"),
        (c_index, history_network, "c_index", "C-index", "TFDeepSurv, C-index"),
    ]
    kinds = {"train": style.LOOKS["Training"], "val": style.LOOKS["Validation"]}
    for i, (ax, history, measure, ylabel, title) in enumerate(panels):
        for kind, look in kinds.items():
            _lines_by_network(ax, history, f"{kind}_{measure}", look)
        ax.set(xlabel="Step", ylabel=ylabel)
        ax.set_xlim(left=0)
        x0 = left + i * (width + between)
        style.text_mm(fig, x0, top - 2.0, title, fontsize=TITLE_PT, va="bottom")
        if i < 2:
            style.panel_letter(fig, x0 - left + 1.0, top - 5.6, "ab"[i])
    losses = one[["train_loss", "val_loss"]].to_numpy(float)
    positive = bool((losses[np.isfinite(losses)] > 0).all())
    ae.set_yscale("log" if positive else "linear")
    if positive:
        style.plain_log_ticks(ae)
    keys = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, label=label, linewidth=1.4)
        for label, look in zip(("Training", "Validation"), kinds.values(), strict=True)
    ]
    members = history_network["network"].astype(str).nunique()
    if members > 1:
        keys.append(Line2D([], [], color=style.GREY, linewidth=0.5, label="single networks"))
    style.top_legend(fig, keys, left)
    note = "Dots: where training stopped. Rings: least validation loss, whose weights are kept."
    style.foot_note(fig, note + (f" Thick: mean of {members} networks while all run." if members > 1 else ""))
    return fig


def _lines_by_network(ax: Axes, history: pd.DataFrame, column: str, look: style.Look) -> None:
    known = history[history[column].notna()]
    by_network = known.pivot(index="step", columns="network", values=column).sort_index()
    single = by_network.shape[1] == 1
    for network in by_network:
        line = by_network[network].dropna()
        if not single:
            ax.plot(line.index, line, color=look.colour, linewidth=0.5, alpha=0.45, zorder=2)
        ax.plot(line.index[-1:], line.iloc[-1:], color=look.colour, marker="o", markersize=2.0, zorder=3.5)
        if column == "val_loss":
            ax.plot(line.idxmin(), line.min(), color=look.colour, marker="o", markersize=3.4, markerfacecolor="white",
                    markeredgewidth=0.7, zorder=4)  # fmt: skip
    # a mean over those still running would jump where one stops early
    middle = by_network.dropna().mean(axis=1)
    ax.plot(middle.index, middle, color=look.colour, linestyle=look.dashes, linewidth=1.4, zorder=3)
