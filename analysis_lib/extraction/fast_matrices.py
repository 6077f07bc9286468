"""PyRadiomics' five texture matrices from one table of neighbours.

PyRadiomics' C code walks the bounding box once a matrix, image and direction and finds each neighbour anew.
The neighbours depend on the mask alone: here they are found once and serve all matrices of all images. The
counts are whole numbers and the sum of reals (NGTDM) adds whole neighbourhoods in the same order, so that the
matrices equal ``radiomics.cMatrices`` to the last bit (tests/test_fast_radiomics.py). Distance 1 only.
"""

from __future__ import annotations

import types

import numba
import numpy as np
from radiomics import cMatrices


class Neighbours:
    """Voxels of a mask as nodes, and for every direction the next voxel ahead and behind (-1 if outside).

    inside: (z, y, x) bool; the directions are PyRadiomics' own, one of each opposite pair.
    """

    def __init__(self, inside: np.ndarray, force2d: bool = False, force2d_dimension: int = 0):
        size = np.array(inside.shape)
        self.angles = cMatrices.generate_angles(size, np.array([1]), False, force2d, force2d_dimension)
        node = np.full(size + 2, -1, dtype=np.int32)  # a border of -1 spares every range check
        where = np.argwhere(inside) + 1
        node[tuple(where.T)] = np.arange(len(where))
        self.ahead = np.stack([node[tuple((where + a).T)] for a in self.angles], axis=1)
        self.behind = np.stack([node[tuple((where - a).T)] for a in self.angles], axis=1)
        self.longest = int(size.max())
        # PyRadiomics drops directions in which no line meets the mask more than once
        self.lined = np.array([self._lined(where, a, k) for k, a in enumerate(self.angles)])

    def _lined(self, where: np.ndarray, angle: np.ndarray, k: int) -> bool:
        if (self.ahead[:, k] >= 0).any():
            return True
        axis = int(np.flatnonzero(angle)[0])
        steps = where[:, axis] * angle[axis]
        return len(np.unique(where - steps[:, None] * angle, axis=0)) < len(where)


class Matrices:
    """Stands where PyRadiomics' classes call ``cMatrices``, for one image.

    bins: (voxels,) grey levels from 1 in the order of ``Neighbours``.
    """

    def __init__(self, neighbours: Neighbours, bins: np.ndarray):
        self._near, self._bins = neighbours, bins.astype(np.int32) - 1

    def calculate_glcm(self, image, mask, distances, levels, force2d, dimension):
        return _glcm(self._bins, self._near.ahead, levels)[None], self._near.angles

    def calculate_glrlm(self, image, mask, levels, longest, force2d, dimension):
        runs = _glrlm(self._bins, self._near.ahead, self._near.behind, levels, longest)
        runs[:, :, ~self._near.lined] = 0
        return runs[None], self._near.angles

    def calculate_glszm(self, image, mask, levels, voxels, force2d, dimension):
        level, size = _zones(self._bins, self._near.ahead, self._near.behind)
        zones = np.zeros((1, levels, int(size.max())))
        np.add.at(zones[0], (level, size - 1), 1)
        return zones

    def calculate_gldm(self, image, mask, distances, levels, alpha, force2d, dimension):
        return _gldm(self._bins, self._near.ahead, self._near.behind, levels, alpha)[None]

    def calculate_ngtdm(self, image, mask, distances, levels, force2d, dimension):
        return _ngtdm(self._bins, self._near.ahead, self._near.behind, levels)[None]


def use(feature_class: object, matrices: Matrices) -> None:
    """Let this object's ``_calculateMatrix``, PyRadiomics' own, call ``matrices`` for ``cMatrices``."""
    own = type(feature_class)._calculateMatrix
    code = types.FunctionType(own.__code__, {**own.__globals__, "cMatrices": matrices}, argdefs=own.__defaults__)
    feature_class._calculateMatrix = types.MethodType(code, feature_class)


@numba.njit(cache=True)
def _glcm(bins, ahead, levels):  # pragma: no cover - compiled
    out = np.zeros((levels, levels, ahead.shape[1]))
    for i in range(ahead.shape[0]):
        for k in range(ahead.shape[1]):
            j = ahead[i, k]
            if j >= 0:
                out[bins[i], bins[j], k] += 1
    return out


@numba.njit(cache=True)
def _glrlm(bins, ahead, behind, levels, longest):  # pragma: no cover - compiled
    out = np.zeros((levels, longest, ahead.shape[1]))
    for i in range(ahead.shape[0]):
        level = bins[i]
        for k in range(ahead.shape[1]):
            j = behind[i, k]
            if j >= 0 and bins[j] == level:
                continue  # not the first of its run
            length = 0
            j = ahead[i, k]
            while j >= 0 and bins[j] == level:
                length += 1
                j = ahead[j, k]
            out[level, length, k] += 1
    return out


@numba.njit(cache=True)
def _zones(bins, ahead, behind):  # pragma: no cover - compiled
    n = bins.size
    seen = np.zeros(n, np.bool_)
    stack = np.empty(n, np.int32)
    levels, sizes = np.empty(n, np.int64), np.empty(n, np.int64)
    count = 0
    for start in range(n):
        if seen[start]:
            continue
        level, size, top = bins[start], 0, 1
        stack[0] = start
        seen[start] = True
        while top > 0:
            top -= 1
            i = stack[top]
            size += 1
            for k in range(ahead.shape[1]):
                for j in (ahead[i, k], behind[i, k]):
                    if j >= 0 and not seen[j] and bins[j] == level:
                        seen[j] = True
                        stack[top] = j
                        top += 1
        levels[count], sizes[count] = level, size
        count += 1
    return levels[:count], sizes[:count]


@numba.njit(cache=True)
def _gldm(bins, ahead, behind, levels, alpha):  # pragma: no cover - compiled
    out = np.zeros((levels, 4 * ahead.shape[1] + 1))
    for i in range(ahead.shape[0]):
        dependent = 0
        for k in range(ahead.shape[1]):
            j = ahead[i, k]
            if j >= 0 and abs(bins[i] - bins[j]) <= alpha:
                dependent += 1
            j = behind[i, k]
            if j >= 0 and abs(bins[i] - bins[j]) <= alpha:
                dependent += 1
        out[bins[i], dependent] += 1
    return out


@numba.njit(cache=True)
def _ngtdm(bins, ahead, behind, levels):  # pragma: no cover - compiled
    out = np.zeros((levels, 3))
    out[:, 2] = np.arange(1, levels + 1)
    for i in range(ahead.shape[0]):
        count, total = 0, 0
        for k in range(ahead.shape[1]):
            j = ahead[i, k]
            if j >= 0:
                count += 1
                total += bins[j] + 1
            j = behind[i, k]
            if j >= 0:
                count += 1
                total += bins[j] + 1
        out[bins[i], 0] += 1
        if count > 0:
            out[bins[i], 1] += abs(np.float64(bins[i] + 1) - total / count)
    return out
