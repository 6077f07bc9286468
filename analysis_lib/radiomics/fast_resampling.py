"""ITK's resampling by cubic B-splines, to the last bit, in a quarter of its time.

ITK turns the whole image into spline coefficients before it looks at a voxel. Here that is done near the voxels that
are asked for: a coefficient forgets what is n voxels away as 0.268^n. The order of every product and sum is ITK's,
because where old and new grid meet, the last bit decides to which whole number a value is cut off.

    Unser 1999, Splines: a perfect fit for signal and image processing, doi 10.1109/79.799930
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import SimpleITK as sitk
from radiomics import imageoperations

from analysis_lib.radiomics.fast_matrices import with_globals

_POLE = np.sqrt(3.0) - 2.0
_MARGIN = 64  # voxels: 28 until a double has forgotten a value, the others until no rounding differs
_HORIZON = 18  # voxels of ITK's sum at the start of a line, of which the last weighs less than 1e-10
_AT_ONCE = 64  # lines along x that are turned at once


class _Resample(sitk.ResampleImageFilter):
    def Execute(self, image: sitk.Image) -> sitk.Image:
        """As ITK's; images of one slice are fine, ITK reads beyond the end of those of two."""
        fast = self.GetInterpolator() == sitk.sitkBSpline and 2 not in image.GetSize() and _as_itk()
        values = _resampled(self, image) if fast else None
        if values is None:
            return super().Execute(image)
        out = sitk.GetImageFromArray(values)
        out.SetSpacing(self.GetOutputSpacing())
        out.SetOrigin(self.GetOutputOrigin())
        out.SetDirection(self.GetOutputDirection())
        return out


_SITK = types.SimpleNamespace(**{**vars(sitk), "ResampleImageFilter": _Resample})


def resampled(
    image: sitk.Image, mask: sitk.Image, bounds_xyz: np.ndarray, settings: dict[str, Any]
) -> tuple[sitk.Image, sitk.Image]:
    """Image and mask as PyRadiomics' own ``resampleImage`` gives them, which chooses the grid and crops.

    mask: on the image's grid; bounds_xyz: (3, 2), first and last voxel of the region along x, y, z.
    """
    box = np.concatenate([bounds_xyz[:, 0], bounds_xyz[:, 1] - bounds_xyz[:, 0] + 1])
    own = with_globals(imageoperations.resampleImage, sitk=_SITK, _checkROI=lambda *_, **__: box)
    return own(image, mask, **settings)


@lru_cache(maxsize=1)
def _as_itk() -> bool:
    """Whether the installed ITK, on this processor, rounds as this module does; seen on a small image."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(9, 20, 30)))
    grid = sitk.ResampleImageFilter()
    grid.SetSize((40, 30, 12))
    grid.SetOutputSpacing((0.7, 0.6, 0.75))
    grid.SetInterpolator(sitk.sitkBSpline)
    grid.SetOutputPixelType(image.GetPixelID())
    return np.array_equal(_resampled(grid, image), sitk.GetArrayFromImage(grid.Execute(image)))  # type: ignore[arg-type]


def _resampled(grid: sitk.ResampleImageFilter, image: sitk.Image) -> np.ndarray | None:
    """Values (z, y, x) on the filter's output grid; None where its axes are not those of the image.

    Nor of an image in which a value is missing: it would spread over ITK's whole image.
    """
    volume, places = sitk.GetArrayViewFromImage(image), _places(grid, image)
    if places is None or not (volume.dtype.kind in "iu" or np.isfinite(volume).all()):
        return None
    index, weights, boxes = [], [], []
    for place, size in zip(places, volume.shape, strict=True):
        # ITK finds the four voxels in single precision, and mirrors what lies beyond the ends
        first = np.floor(place.astype(np.float32)).astype(np.int64) - 1
        near = first[:, None] + np.arange(4)
        near = np.where(near < 0, -near, near)
        near = np.zeros_like(near) if size == 1 else np.where(near >= size - 1, 2 * (size - 1) - near, near)
        inside = (place >= -0.5) & (place < size - 0.5)
        near[~inside] = near[inside].min() if inside.any() else 0
        start, stop = max(0, int(near.min()) - _MARGIN), min(size, int(near.max()) + 1 + _MARGIN)
        boxes.append(slice(start, stop))
        index.append(near - start)
        weights.append(np.where(inside[:, None], _weights(place - (first + 1)), 0.0))
    block = volume[tuple(boxes)].astype(np.float64)
    _coefficients(block)
    values = _evaluate(block, *index, *weights)
    dtype = volume.dtype
    if dtype.kind in "iu":
        values = np.clip(values, np.iinfo(dtype).min, np.iinfo(dtype).max)  # and cut off, not rounded
    return values.astype(dtype)


def _places(grid: sitk.ResampleImageFilter, image: sitk.Image) -> list[np.ndarray] | None:
    """Where the output's voxels lie in the image, in voxels along z, y, x, as ITK finds them."""
    size = grid.GetSize()
    out = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    out.SetSpacing(grid.GetOutputSpacing())
    out.SetOrigin(grid.GetOutputOrigin())
    out.SetDirection(grid.GetOutputDirection())

    def place(*index: int) -> tuple[float, ...]:
        return image.TransformPhysicalPointToContinuousIndex(out.TransformIndexToPhysicalPoint(index))

    x, y, z = (int(n) for n in size)
    for axis, far in enumerate([(x, 0, 0), (0, y, 0), (0, 0, z)]):
        if any(a != b for k, (a, b) in enumerate(zip(place(0, 0, 0), place(*far), strict=True)) if k != axis):
            return None
    start, end = place(0, 0, 0)[0], place(x, 0, 0)[0]
    return [
        np.array([place(0, 0, k)[2] for k in range(z)]),
        np.array([place(0, k, 0)[1] for k in range(y)]),
        start + np.arange(x) / x * (end - start),
    ]


def _weights(beyond: np.ndarray) -> np.ndarray:
    """Weights (n, 4) of the voxels around a place that lies (n,) ``beyond`` the second."""
    last = (1.0 / 6.0) * beyond * beyond * beyond
    first = (1.0 / 6.0) + 0.5 * beyond * (beyond - 1.0) - last
    third = beyond + first - 2.0 * last
    return np.stack([first, 1.0 - first - third - last, third, last], axis=1)


@numba.njit(cache=True)
def _coefficients(block):  # pragma: no cover - compiled
    """Spline coefficients in place of the values (z, y, x); along x, then y, then z."""
    nz, ny, nx = block.shape
    rows = block.reshape(nz * ny, nx)
    turned = np.empty((nx, _AT_ONCE))
    for start in range(0, nz * ny, _AT_ONCE):
        n = min(_AT_ONCE, nz * ny - start)
        for i in range(n):
            for k in range(nx):
                turned[k, i] = rows[start + i, k]
        _filter(turned)
        for i in range(n):
            for k in range(nx):
                rows[start + i, k] = turned[k, i]
    for z in range(nz):
        _filter(block[z])
    for y in range(ny):
        _filter(block[:, y])


@numba.njit(cache=True)
def _filter(lines):  # pragma: no cover - compiled
    """One axis (the first) of many lines; a causal and an anti-causal recursion, mirrored at the ends."""
    n, m = lines.shape
    if n == 1:
        return
    gain = (1.0 - _POLE) * (1.0 - 1.0 / _POLE)
    for k in range(n):
        for i in range(m):
            lines[k, i] *= gain
    weight = _POLE
    if n > _HORIZON:
        for k in range(1, _HORIZON):
            for i in range(m):
                lines[0, i] += weight * lines[k, i]
            weight *= _POLE
    else:
        back, inverse = _POLE ** np.float64(n - 1), 1.0 / _POLE
        for i in range(m):
            lines[0, i] += back * lines[n - 1, i]
        back *= back * inverse
        for k in range(1, n - 1):
            for i in range(m):
                lines[0, i] += (weight + back) * lines[k, i]
            weight *= _POLE
            back *= inverse
        for i in range(m):
            lines[0, i] /= 1.0 - weight * weight
    for k in range(1, n):
        for i in range(m):
            lines[k, i] += _POLE * lines[k - 1, i]
    for i in range(m):
        lines[n - 1, i] = (_POLE / (_POLE * _POLE - 1.0)) * (_POLE * lines[n - 2, i] + lines[n - 1, i])
    for k in range(n - 2, -1, -1):
        for i in range(m):
            lines[k, i] = _POLE * (lines[k + 1, i] - lines[k, i])


@numba.njit(cache=True)
def _evaluate(block, iz, iy, ix, wz, wy, wx):  # pragma: no cover - compiled
    """Sums over 4 x 4 x 4 coefficients, x fastest, as one chain of additions a voxel."""
    out = np.zeros((iz.shape[0], iy.shape[0], ix.shape[0]))
    low, high = iy.min(), iy.max() + 1
    near = np.empty((4, high - low, 4, ix.shape[0]))  # of the four slices around, what each voxel of a row meets
    held = np.full(4, -1)
    wx = wx.T.copy()
    for z in range(out.shape[0]):
        for c in range(4):
            if wz[z, c] == 0.0:
                continue  # adds nothing: a grid that meets the old one along z
            here = iz[z, c]
            planes = near[here % 4]
            if held[here % 4] != here:
                held[here % 4] = here
                for y in range(low, high):
                    for a in range(4):
                        for x in range(ix.shape[0]):
                            planes[y - low, a, x] = block[here, y, ix[x, a]]
            for y in range(out.shape[1]):
                row = out[z, y]
                for b in range(4):
                    for a in range(4):
                        _add(row, wx[a], wy[y, b], wz[z, c], planes[iy[y, b] - low, a])
    return out


@numba.njit(cache=True)
def _add(row, along_x, along_y, along_z, values):  # pragma: no cover - compiled
    for x in range(row.size):
        row[x] += along_x[x] * along_y * along_z * values[x]
