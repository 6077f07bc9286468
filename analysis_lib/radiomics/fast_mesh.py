"""Surface mesh of a mask as PyRadiomics measures it, in time that grows with the mask, not its square.

Area and volume are sums over 2 x 2 x 2 cubes of 256 kinds, each measured once with PyRadiomics' own function.
The diameters come from the few vertices that can be an end of one.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from radiomics import cShape


def mesh_coefficients(mask: np.ndarray, spacing_mm: np.ndarray) -> tuple[float, float, tuple[float, ...]]:
    """What ``radiomics.cShape.calculate_coefficients`` gives, without comparing all pairs of vertices.

    mask: (z, y, x) bool with a border of zeros; spacing_mm: (3,). Returns area (mm2), volume (mm3) and the
    four largest diameters (mm) in the planes z, y, x and in space.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    kinds, volume48 = _count_cubes(mask, *_volume_tables())
    area = 0.0
    for kind in np.flatnonzero(kinds):
        area += kinds[kind] * cShape.calculate_coefficients(_cube(int(kind)), spacing)[0]
    diameters = _diameters(mask, *spacing)
    return float(area), float(volume48 / 48 * spacing.prod()), tuple(float(d) for d in diameters)


def _cube(kind: int) -> np.ndarray:
    return np.array([kind >> bit & 1 for bit in range(8)], dtype=bool).reshape(2, 2, 2)


@lru_cache(maxsize=1)
def _volume_tables() -> tuple[np.ndarray, np.ndarray]:
    """Of each kind of cube, 48 x the signed volume towards the origin and its gain per step along z, y, x.

    Measured on cubes alone and on pairs of cubes with unit spacing. The vertices are half voxels, so that
    48 x volume is a whole number and the sum over a mask is exact.
    """
    unit = np.ones(3)
    alone = np.array([cShape.calculate_coefficients(_cube(kind), unit)[1] for kind in range(256)])
    gain = np.empty((256, 3))
    for kind in range(256):
        cube = _cube(kind)
        for axis in range(3):
            pair = np.concatenate([np.zeros_like(cube).take([0], axis), cube], axis)
            before = pair.take([0, 1], axis).ravel()
            first = int(sum(1 << bit for bit in range(8) if before[bit]))
            both = cShape.calculate_coefficients(pair, unit)[1]
            gain[kind, axis] = both - alone[first] - alone[kind]
    return np.rint(48 * alone).astype(np.int64), np.rint(48 * gain).astype(np.int64)


@numba.njit(cache=True)
def _count_cubes(mask, alone, gain):  # pragma: no cover - compiled
    kinds = np.zeros(256, np.int64)
    volume = 0
    for z in range(mask.shape[0] - 1):
        for y in range(mask.shape[1] - 1):
            left = mask[z, y, 0] + 4 * mask[z, y + 1, 0] + 16 * mask[z + 1, y, 0] + 64 * mask[z + 1, y + 1, 0]
            for x in range(mask.shape[2] - 1):
                right = (
                    mask[z, y, x + 1]
                    + 4 * mask[z, y + 1, x + 1]
                    + 16 * mask[z + 1, y, x + 1]
                    + 64 * mask[z + 1, y + 1, x + 1]
                )
                kind = left + 2 * right
                left = right
                if kind != 0 and kind != 255:
                    kinds[kind] += 1
                    volume += alone[kind] + z * gain[kind, 0] + y * gain[kind, 1] + x * gain[kind, 2]
    return kinds, volume


@numba.njit(cache=True)
def _extend(low, high, i, j, value):  # pragma: no cover - compiled
    low[i, j] = min(low[i, j], value)
    high[i, j] = max(high[i, j], value)


@numba.njit(cache=True)
def _diameters(mask, dz, dy, dx):  # pragma: no cover - compiled
    """Largest distances between mesh vertices: the midpoints of voxel pairs of which one is in the mask.

    In half voxels. On a line along x (or y) only its two ends can be an end of a diameter, and in a slice
    only the corners of the convex hull can be an end of the one in space.
    """
    nz, ny, nx = 2 * mask.shape[0], 2 * mask.shape[1], 2 * mask.shape[2]
    far = max(nz, ny, nx) + 1
    low_x, high_x = np.full((nz, ny), far), np.full((nz, ny), -1)
    low_y, high_y = np.full((nz, nx), far), np.full((nz, nx), -1)
    for z in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            for x in range(mask.shape[2]):
                here = mask[z, y, x]
                if x + 1 < mask.shape[2] and mask[z, y, x + 1] != here:
                    _extend(low_x, high_x, 2 * z, 2 * y, 2 * x + 1)
                    _extend(low_y, high_y, 2 * z, 2 * x + 1, 2 * y)
                if y + 1 < mask.shape[1] and mask[z, y + 1, x] != here:
                    _extend(low_x, high_x, 2 * z, 2 * y + 1, 2 * x)
                    _extend(low_y, high_y, 2 * z, 2 * x, 2 * y + 1)
                if z + 1 < mask.shape[0] and mask[z + 1, y, x] != here:
                    _extend(low_x, high_x, 2 * z + 1, 2 * y, 2 * x)
                    _extend(low_y, high_y, 2 * z + 1, 2 * x, 2 * y)
    best = np.zeros(4)
    for y in range(ny):
        best[1] = max(best[1], _widest(low_x, high_x, y, dz, dx))
    for x in range(nx):
        best[2] = max(best[2], _widest(low_y, high_y, x, dz, dy))
    corner = np.empty((2 * nz * ny, 3), np.int64)
    count = 0
    for z in range(nz):
        start = count
        for side in range(2):
            first = count  # corners of the hull on this side, by a monotone chain along y
            for y in range(ny):
                if high_x[z, y] < 0:
                    continue
                x = low_x[z, y] if side == 0 else high_x[z, y]
                sign = 1 if side == 0 else -1
                while count - first >= 2:
                    a, b = corner[count - 2], corner[count - 1]
                    if sign * ((b[1] - a[1]) * (x - a[2]) - (b[2] - a[2]) * (y - a[1])) > 0:
                        break
                    count -= 1
                corner[count, 0], corner[count, 1], corner[count, 2] = z, y, x
                count += 1
        for i in range(start, count):
            for j in range(i):
                distance = _squared(corner[i], corner[j], dz, dy, dx)
                best[3] = max(best[3], distance)
                if j >= start:
                    best[0] = max(best[0], distance)
    return np.sqrt(best)


@numba.njit(cache=True)
def _squared(a, b, dz, dy, dx):  # pragma: no cover - compiled
    z = 0.5 * a[0] * dz - 0.5 * b[0] * dz
    y = 0.5 * a[1] * dy - 0.5 * b[1] * dy
    x = 0.5 * a[2] * dx - 0.5 * b[2] * dx
    return z * z + y * y + x * x


@numba.njit(cache=True)
def _widest(low, high, column, step, across):  # pragma: no cover - compiled
    """Largest squared distance between the line ends of one plane; lines ``step`` / 2 apart."""
    best = 0.0
    for i in range(low.shape[0]):
        if high[i, column] < 0:
            continue
        for j in range(i + 1):
            if high[j, column] < 0:
                continue
            reach = max(high[i, column] - low[j, column], high[j, column] - low[i, column])
            z = 0.5 * (i - j) * step
            x = 0.5 * reach * across
            best = max(best, z * z + x * x)
    return best
