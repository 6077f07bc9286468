"""Fig. 3: principal components of the features by definition of sarcopenia."""

from __future__ import annotations

import string
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import MaxNLocator

from analysis_lib.common.formatting import format_p
from analysis_lib.figures import style
from analysis_lib.figures.style import TITLE_PT

FEW = 50  # a class of fewer patients is drawn larger, or it is not seen among the others
GROUPS = ("No sarcopenia", "Sarcopenia")


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
    ellipses: pd.DataFrame | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Figure:
    """First three principal components, a column of two panels (PC2 and PC3 against PC1) for each definition.

    ``scores`` [PC1, PC2, PC3, <definition> ...]: one row a patient, each definition's column 0 or 1 (empty:
    not drawn). ``separations`` [definition, title, auc, low, high]: a column of panels a definition, in drawing
    order; cross-validated AUC of a rule on the components with its interval and, where there is a column
    p_permutation, its P; empty where it cannot be computed. Where there is a column patients, each of its rows of a
    definition is a line, the first that of the patients drawn; ``words``, where there are, say the AUC in words.
    ``explained`` [component, fraction]: share of variance for the axis labels. ``ellipses``: as from
    ``separation.ellipses``. ``confidence``: level of the intervals. ``seed`` draws the order of the points, so that no
    set and no group hides another. ValueError for a missing column.
    """
    style.need_columns(separations, ["definition", "title", "auc", "low", "high"], "frame of separations")
    style.need_columns(scores, ["PC1", "PC2", *separations["definition"]], "frame of scores")
    components = [c for c in ("PC2", "PC3") if c in scores.columns]
    share = {} if explained is None else dict(zip(explained["component"], explained["fraction"], strict=True))
    columns = [rows for _, rows in separations.groupby("definition", sort=False)]
    count, with_p = len(columns), "p_permutation" in separations
    lines = max(len(_found(rows, with_p)) for rows in columns)
    shuffled = scores.sample(frac=1, random_state=seed)
    look_of = style.looks([str(rows["definition"].iloc[0]) for rows in columns])
    left, top, gap = 12.0, 18.5 + 3.2 * (lines - 1), 3.0
    side = (style.TWO_COLUMNS_MM - left - 2.0 - gap * (count - 1)) / count
    height = min(side * 1.1, 50.0)
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + len(components) * (height + gap) + 6.0)
    for i, rows in enumerate(columns):
        row = next(rows.itertuples(index=False))
        x0 = left + i * (side + gap)
        for j, component in enumerate(components):
            ax = style.axes_mm(fig, x0, top + j * (height + gap), side, height)
            colours = style.LOOKS[GROUPS[0]].colour, look_of[str(row.definition)].colour
            _scatter(ax, shuffled, component, shuffled[row.definition], colours)
            _ellipses(ax, ellipses, str(row.definition), component, colours)
            lowest = component == components[-1]
            ax.set_xlabel(_component_label("PC1", share) if lowest else "")
            ax.set_ylabel("" if i else _component_label(component, share))
            ax.tick_params(labelbottom=lowest, labelleft=i == 0)
        style.text_mm(fig, x0, 13.2, str(row.title), room=side + 1.0, fontsize=TITLE_PT, va="bottom")
        for k, text in enumerate(_found(rows, with_p)):
            style.text_mm(fig, x0, 16.9 + 3.2 * k, text, room=side + 1.0, va="bottom")
        style.panel_letter(fig, x0, 6.0, string.ascii_lowercase[i])
    keys = [
        Line2D([], [], linestyle="none", marker=style.LOOKS[name].marker, color=style.LOOKS[name].colour,
               markersize=3.5, label=name + (" (in the colour of its definition)" if name == GROUPS[1] else ""))
        for name in GROUPS
    ]  # fmt: skip
    if ellipses is not None:
        keys.append(Line2D([], [], color=style.BLACK, linewidth=0.9, label="ellipse of half a group"))
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
        if "words" in rows and isinstance(row.words, str):
            texts.append(row.words)
    return texts


def _component_label(name: str, share: Mapping[str, float]) -> str:
    return f"{name} ({share[name]:.0%} of variance)" if name in share else name


def _scatter(ax: Axes, scores: pd.DataFrame, component: str, verdict: pd.Series, colours: tuple[str, str]) -> None:
    """All known patients in one layer, in the order of their rows."""
    known = verdict.notna().to_numpy()
    value = verdict[known].to_numpy(int)
    few = np.bincount(value, minlength=2) < FEW
    x, y = (scores.loc[known, name] for name in ("PC1", component))
    shades = [to_rgba(colours[v], 0.9 if few[v] else 0.6) for v in value]
    dots = ax.scatter(x, y, s=np.where(few[value], 11, 5), c=shades, linewidths=0, zorder=2)
    shapes = [MarkerStyle(style.LOOKS[name].marker) for name in GROUPS]
    dots.set_paths([shapes[v].get_path().transformed(shapes[v].get_transform()) for v in value])
    for axis, name in ((ax.xaxis, "PC1"), (ax.yaxis, component)):
        values = scores[name].to_numpy(float)
        room = 0.05 * (values.max() - values.min() or 1.0)
        axis.set_view_interval(values.min() - room, values.max() + room, ignore=True)
        axis.set_major_locator(MaxNLocator(4))


def _ellipses(
    ax: Axes, ellipses: pd.DataFrame | None, definition: str, component: str, colours: tuple[str, str]
) -> None:
    """The groups' ellipses: a circle, sheared to the correlation of the components and scaled to their SD."""
    if ellipses is None:
        return
    mine = ellipses[(ellipses["definition"] == definition) & (ellipses["component"] == component)]
    turn = np.linspace(0, 2 * np.pi, 121)
    for row in mine.itertuples():
        along, across = np.sqrt((1 + row.r) / 2) * np.cos(turn), np.sqrt((1 - row.r) / 2) * np.sin(turn)
        x, y = (row.x + row.radius * row.sd_x * (along + across), row.y + row.radius * row.sd_y * (along - across))
        ax.plot(x, y, color="white", linewidth=1.8, zorder=3)
        ax.plot(x, y, color=colours[int(row.sarcopenic)], linewidth=1.0, zorder=4)
