"""Drawing in millimetres: smooth outlines, their coverage of the pixels, and correlated random textures.

The frame is the patient's: x grows to the patient's left (image right), y to the back (image down); the
origin is the centre of the vertebral body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import fft, ndimage

Points = NDArray[np.float64]
Field = NDArray[np.float32]
Window = tuple[slice, slice]

SIZE = 512
_SUB = 4  # sub-pixels a side, for edges without steps


def _segment_weights(samples: int) -> NDArray[np.float64]:
    t = np.linspace(0.0, 1.0, samples, endpoint=False)[:, None]
    return 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])


_WEIGHTS = _segment_weights(8)


def closed_curve(control: Points) -> Points:
    """A smooth closed outline through ``control`` (n, 2): Catmull-Rom, (8n, 2) points."""
    quads = np.stack([np.roll(control, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1)
    return np.einsum("sk,nkd->nsd", _WEIGHTS, quads).reshape(-1, 2)


def open_curve(control: Points, n_points: int) -> Points:
    """A smooth curve through ``control``, resampled to ``n_points`` of equal arc length."""
    padded = np.vstack([2 * control[0] - control[1], control, 2 * control[-1] - control[-2]])
    quads = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)], axis=1)
    curve = np.vstack([np.einsum("sk,nkd->nsd", _WEIGHTS, quads).reshape(-1, 2), control[-1]])
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    at = np.linspace(0.0, arc[-1], n_points)
    return np.column_stack([np.interp(at, arc, curve[:, 0]), np.interp(at, arc, curve[:, 1])])


def area_mm2(outline: Points) -> float:
    """Area within an outline (n, 2) in mm."""
    x, y = outline.T
    return float(0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def perimeter_mm(outline: Points) -> float:
    """Length of an outline (n, 2) in mm."""
    return float(np.hypot(*(np.roll(outline, -1, axis=0) - outline).T).sum())


def blob(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    wobble: float = 0.06,
) -> Points:
    """An ellipse with an individual, low-order outline."""
    theta = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(theta)
    for order in (2, 3, 4, 5):
        radius += wobble / order**0.5 * rng.standard_normal() * np.cos(order * theta + rng.uniform(0, 6.3))
    x, y = radii[0] * radius * np.cos(theta), radii[1] * radius * np.sin(theta)
    c, s = np.cos(angle), np.sin(angle)
    return np.column_stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y])


def roughen(rng: np.random.Generator, outline: Points, amount: float) -> Points:
    """Vary an outline by low-order Fourier terms about its centroid, by ``amount`` of the radius."""
    centre = outline.mean(axis=0)
    offset = outline - centre
    theta = np.arctan2(offset[:, 1], offset[:, 0])
    factor = np.ones(len(outline))
    for order in (2, 3, 4, 6):
        factor += amount / order**0.5 * rng.standard_normal() * np.cos(order * theta + rng.uniform(0, 6.3))
    return centre + offset * factor[:, None]


@dataclass(frozen=True)
class Grid:
    """Pixels of the image: spacing in mm, and the pixel position (column, row) of the origin."""

    column_spacing_mm: float
    row_spacing_mm: float
    origin_column: float
    origin_row: float

    def x_mm(self) -> Field:
        """Position of each column, mm."""
        return ((np.arange(SIZE) - self.origin_column) * self.column_spacing_mm).astype(np.float32)

    def y_mm(self) -> Field:
        """Position of each row, mm."""
        return ((np.arange(SIZE) - self.origin_row) * self.row_spacing_mm).astype(np.float32)

    def _crop(self, points: Points, margin: float) -> tuple[Window, Points] | None:
        column = points[:, 0] / self.column_spacing_mm + self.origin_column
        row = points[:, 1] / self.row_spacing_mm + self.origin_row
        c0, c1 = max(int(column.min() - margin), 0), min(int(column.max() + margin) + 2, SIZE)
        r0, r1 = max(int(row.min() - margin), 0), min(int(row.max() + margin) + 2, SIZE)
        if c1 <= c0 or r1 <= r0:
            return None
        sub = np.column_stack([column - c0 + 0.5, row - r0 + 0.5]) * _SUB - 0.5
        return (slice(r0, r1), slice(c0, c1)), sub

    def cover(self, outline: Points) -> tuple[Window, Field]:
        """The window of pixels an outline touches and the covered fraction of each."""
        crop = self._crop(outline, 1)
        if crop is None:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
        window, sub = crop
        return window, self._raster(window, lambda pen: pen.polygon(sub.ravel().tolist(), fill=255))

    def stroke(self, line: Points, width_mm: float) -> tuple[Window, Field]:
        """The same for a line; one thinner than the drawing grid is drawn fainter instead."""
        crop = self._crop(line, 3)
        if crop is None:
            return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.float32)
        window, sub = crop
        wanted = width_mm * _SUB / (0.5 * (self.column_spacing_mm + self.row_spacing_mm))
        width = max(int(np.ceil(wanted)), 1)
        cover = self._raster(window, lambda pen: pen.line(sub.ravel().tolist(), fill=255, width=width, joint="curve"))
        return window, cover * np.float32(wanted / width)

    @staticmethod
    def _raster(window: Window, draw) -> Field:
        height, width = (s.stop - s.start for s in window)
        image = Image.new("L", (width * _SUB, height * _SUB), 0)
        draw(ImageDraw.Draw(image))
        return np.asarray(image.reduce(_SUB), dtype=np.float32) * np.float32(1 / 255)

    def full(self, outline: Points) -> Field:
        """Coverage on the whole image, (512, 512)."""
        image = np.zeros((SIZE, SIZE), np.float32)
        window, cover = self.cover(outline)
        image[window] = cover
        return image


def paint(
    image: Field, layer: tuple[Window, Field], value: float | NDArray[np.floating], clip: Field | None = None
) -> None:
    """Blend ``value`` into ``image`` by the layer's coverage, within ``clip`` if given."""
    window, cover = layer
    if clip is not None:
        cover = cover * clip[window]
    target = image[window]
    target += cover * (value - target)


def add_cover(image: Field, layer: tuple[Window, Field]) -> None:
    """Union of coverages, in place."""
    window, cover = layer
    np.maximum(image[window], cover, out=image[window])


def texture_table(
    rng: np.random.Generator, along_mm: float, across_mm: float, cell_mm: float = 0.6, size: int = 256
) -> Field:
    """A periodic Gaussian random texture of unit SD; the correlation lengths are Gaussian sigmas in mm."""
    white = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    fu = np.fft.fftfreq(size, cell_mm)[:, None]
    fv = np.fft.rfftfreq(size, cell_mm)[None, :]
    decay = np.exp(-2 * np.pi**2 * ((along_mm * fu) ** 2 + (across_mm * fv) ** 2)).astype(np.float32)
    decay[0, 0] = 0
    table = fft.irfft2(white * decay, s=(size, size))
    return (table / table.std()).astype(np.float32)


def sample_table(table: Field, u_mm: Field, v_mm: Field, cell_mm: float = 0.6) -> Field:
    """The texture at (along, across) positions in mm, wrapped around."""
    return ndimage.map_coordinates(table, [u_mm / cell_mm, v_mm / cell_mm], order=1, mode="grid-wrap")


def noise_slices(
    rng: np.random.Generator, n_slices: int, spacing_mm: tuple[float, float], fwhm_mm: float
) -> list[Field]:
    """Independent CT noise of unit SD, (512, 512) each.

    Filtered back-projection gives noise power that rises with frequency and then falls with the kernel; more
    X-rays are absorbed across a supine body than through it, hence the lean towards lateral streaks.
    """
    fy = np.fft.fftfreq(SIZE, spacing_mm[0]).astype(np.float32)[:, None]
    fx = np.fft.fftfreq(SIZE, spacing_mm[1]).astype(np.float32)[None, :]
    square = fx**2 + fy**2
    sigma = fwhm_mm / 2.3548
    power = np.sqrt(np.sqrt(square) + 0.02) * np.exp(-2 * np.pi**2 * sigma**2 * square)
    power *= 1 + 0.9 * fy**2 / np.maximum(square, 1e-9)
    slices: list[Field] = []
    while len(slices) < n_slices:
        white = rng.standard_normal((SIZE, 2 * SIZE), dtype=np.float32).view(np.complex64)
        both = fft.ifft2(white * power, overwrite_x=True)
        slices += [both.real / both.real.std(), both.imag / both.imag.std()]
    return slices[:n_slices]


def signed_distance_px(cover: Field) -> Field:
    """Distance in pixels from the half-covered edge, positive inside, with the sub-pixel part kept."""
    inside = cover >= 0.5
    result = np.full(cover.shape, -50.0, np.float32)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    window = (
        slice(max(rows[0] - 8, 0), rows[-1] + 9),
        slice(max(columns[0] - 8, 0), columns[-1] + 9),
    )
    part = inside[window]
    outer = ndimage.distance_transform_edt(~part)
    inner = ndimage.distance_transform_edt(part)
    result[window] = np.where(part, inner - 1, 1 - outer) + cover[window] - 0.5
    return result
