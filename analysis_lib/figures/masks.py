"""CT slices with the outlines of their masks, for the README and for looking at a cohort."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis_lib.figures import style
from analysis_lib.figures.style import SMALL_PT, TITLE_PT

# title, HU of one axial slice, SM and PM on its grid, spacing of rows and columns in mm
Slice = tuple[str, np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]

SM_COLOUR, PM_COLOUR = style.ORANGE, style.SKY
WINDOW_HU = (-160.0, 240.0)
SCALE_BAR_MM = 50.0


@style.styled
def masks_picture(
    slices: Sequence[Slice],
    field_mm: tuple[float, float] | None = None,
) -> Figure:
    """Axial slices in two rows, plain and with the outlines of SM and PM, one column a patient.

    Each slice is (title, HU of shape (rows, columns), SM mask, PM mask, spacing (row, column) in mm) in LPS:
    the first row is anterior, the first column the patient's right. Black and white stand for
    ``WINDOW_HU``. ``field_mm`` is the width and height shown about the centre of the slice (default: all of the
    largest). Every slice has the same scale, so patients can be compared. ValueError for a mask of another
    shape.
    """
    for title, hu, sm, pm, _ in slices:
        if hu.shape != sm.shape or hu.shape != pm.shape:
            raise ValueError(f"{title}: slice {hu.shape}, SM {sm.shape} and PM {pm.shape} are not on one grid")
    count, gap, top = len(slices), 1.5, 5.0
    wide = max(hu.shape[1] * spacing[1] for _, hu, _, _, spacing in slices)
    tall = max(hu.shape[0] * spacing[0] for _, hu, _, _, spacing in slices)
    if field_mm is not None:
        wide, tall = field_mm
    side = (style.TWO_COLUMNS_MM - gap * (count + 1)) / count
    height = side * tall / wide
    fig = style.new_figure(style.TWO_COLUMNS_MM, top + 2 * height + gap + 1.0)
    for i, (title, hu, sm, pm, spacing) in enumerate(slices):
        x0 = gap + i * (side + gap)
        style.text_mm(fig, x0 + side / 2, 1.0, title, fontsize=TITLE_PT, ha="center", va="top")
        for j in range(2):
            ax = style.axes_mm(fig, x0, top + j * (height + gap), side, height)
            _slice_panel(ax, hu, spacing, (wide, tall))
            _scale_bar(ax, wide, tall)
            if j:
                for mask, colour in ((sm, SM_COLOUR), (pm, PM_COLOUR)):
                    _outline(ax, mask, spacing, colour)
    keys = [
        Line2D([], [], color=colour, label=label)
        for colour, label in ((SM_COLOUR, "SM, skeletal muscle"), (PM_COLOUR, "PM, psoas muscle"))
    ]
    width, total = style.size_mm(fig)
    fig.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(gap / width, 1.3 / total), borderaxespad=0, ncols=2, borderpad=0
    )
    return fig


def _slice_panel(ax: Axes, hu: np.ndarray, spacing: tuple[float, float], field: tuple[float, float]) -> None:
    rows, columns = hu.shape
    row_mm, column_mm = spacing
    extent = (-columns * column_mm / 2, columns * column_mm / 2, rows * row_mm / 2, -rows * row_mm / 2)
    ax.set_facecolor("black")
    low, high = WINDOW_HU
    ax.imshow(hu, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="antialiased", aspect="equal")
    ax.set(xlim=(-field[0] / 2, field[0] / 2), ylim=(field[1] / 2, -field[1] / 2), xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    for x, letter in ((0.02, "R"), (0.98, "L")):
        ax.text(
            x,
            0.5,
            letter,
            transform=ax.transAxes,
            color="white",
            ha="left" if letter == "R" else "right",
            va="center",
            fontsize=SMALL_PT,
            fontweight="bold",
            path_effects=[effects.withStroke(linewidth=1.2, foreground="black")],
        )


def _outline(ax: Axes, mask: np.ndarray, spacing: tuple[float, float], colour: str) -> None:
    rows, columns = mask.shape
    x = (np.arange(columns) - (columns - 1) / 2) * spacing[1]
    y = (np.arange(rows) - (rows - 1) / 2) * spacing[0]
    if mask.any():
        ax.contour(x, y, mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.6)


def _scale_bar(ax: Axes, wide: float, tall: float) -> None:
    right, low = wide / 2 - 0.04 * wide, tall / 2 - 0.04 * tall
    ax.plot([right - SCALE_BAR_MM, right], [low, low], color="white", linewidth=1.5, solid_capstyle="butt")
    ax.text(
        right - SCALE_BAR_MM / 2,
        low - 0.015 * tall,
        f"{SCALE_BAR_MM / 10:g} cm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=SMALL_PT,
        path_effects=[effects.withStroke(linewidth=1.0, foreground="black")],
    )
