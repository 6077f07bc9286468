"""Fig. 3: principal components of the features by definition of sarcopenia."""

from __future__ import annotations

import string
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis_lib.common.formatting import format_p
from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

FEW = 50  # a class of fewer patients is drawn larger, or it is not seen among the others
CLASS_STYLES = [(style.BLUE, "o"), (style.VERMILLION, "^")]


def pca_frame(scores: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Join scores and verdicts into the frame that ``pca_grid`` draws and that is written beside it.

    ``scores`` [PC1 ...] and ``groups`` (a column a definition: true or false, empty where unknown) share the
    index patient_id; a verdict becomes 1, 0 or empty. KeyError for a patient without verdicts.
    """
    verdicts = groups.loc[scores.index].astype("boolean").astype("Int64")
    return scores.join(verdicts).rename_axis("patient_id").reset_index()


@style.styled
def pca_grid(
    scores: pd.DataFrame,
    separations: pd.DataFrame,
    explained: pd.DataFrame | None = None,
    confidence: float = 0.95,
) -> Figure:
    """First three principal components, a column of two panels (PC2 and PC3 against PC1) for each definition.

    ``scores`` [PC1, PC2, PC3, <definition> ...]: one row a patient, each definition's column 0 or 1 (empty:
    not drawn). ``separations`` [definition, title, auc, low, high]: a column of panels a definition, in drawing
    order; cross-validated AUC of a rule on the components with its interval and, where there is a column
    p_permutation, its P; empty where it cannot be computed. Where there is a column patients, each of its rows of a
    definition is a line, the first that of the patients drawn. ``explained`` [component, fraction]: share of variance
    for the axis labels. ``confidence``: level of the intervals. ValueError for a missing column.
    """
    style.need_columns(separations, ["definition", "title", "auc", "low", "high"], "frame of separations")
    style.need_columns(scores, ["PC1", "PC2", *separations["definition"]], "frame of scores")
    components = [c for c in ("PC2", "PC3") if c in scores.columns]
    share = {} if explained is None else dict(zip(explained["component"], explained["fraction"], strict=True))
    columns = [rows for _, rows in separations.groupby("definition", sort=False)]
    count, lines = len(columns), max(len(rows) for rows in columns)
    with_p = "p_permutation" in separations
    left, top, gap = 12.0, 18.5 + 3.2 * (lines * (1 + with_p) - 1), 3.0
    side = (style.TWO_COLUMNS_MM - left - 2.0 - gap * (count - 1)) / count
    height = min(side * 1.1, 50.0)
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + len(components) * (height + gap) + 6.0)
    for i, rows in enumerate(columns):
        row = next(rows.itertuples(index=False))
        x0 = left + i * (side + gap)
        for j, component in enumerate(components):
            ax = style.axes_mm(fig, x0, top + j * (height + gap), side, height)
            _scatter(ax, scores, component, scores[row.definition])
            lowest = component == components[-1]
            ax.set_xlabel(_component_label("PC1", share) if lowest else "")
            ax.set_ylabel("" if i else _component_label(component, share))
            ax.tick_params(labelbottom=lowest, labelleft=i == 0)
        size = style.fitting_pt(str(row.title), side + 1.0, TITLE_PT)
        style.text_mm(fig, x0, 13.2, str(row.title), fontsize=size, va="bottom")
        for k, text in enumerate(_found(rows, with_p)):
            size = style.fitting_pt(text, side + 1.0, SMALL_PT)
            style.text_mm(fig, x0, 16.9 + 3.2 * k, text, fontsize=size, va="bottom")
        style.panel_letter(fig, x0, 6.0, string.ascii_lowercase[i])
    keys = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=3.5, label=label)
        for label, (colour, marker) in zip(("No sarcopenia", "Sarcopenia"), CLASS_STYLES, strict=True)
    ]
    style.top_legend(fig, keys, left)
    note = f"AUC of a linear rule on the components, cross-validated ({style.level(confidence)} interval)"
    style.foot_note(fig, note + ("; P: groups permuted" if with_p else ""))
    return fig


def _found(rows: pd.DataFrame, with_p: bool) -> list[str]:
    """What is written above a column of panels: AUC and P of each row."""
    texts = []
    for row in rows.itertuples(index=False):
        texts.append(f"AUC {row.auc:.2f} ({row.low:.2f}–{row.high:.2f})" if pd.notna(row.auc) else "separation: NA")
        if with_p:
            p = format_p(row.p_permutation)
            texts.append(f"{p} in {row.patients}" if "patients" in rows else f"permutation {p}")
    return texts


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
