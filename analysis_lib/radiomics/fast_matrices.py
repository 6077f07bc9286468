"""PyRadiomics' five texture matrices from one table of neighbours.

PyRadiomics' C code walks the bounding box once a matrix, image and direction and finds each neighbour anew.
The neighbours depend on the mask alone: here they are found once and serve all matrices of all images. The
counts are whole numbers and the sum of reals (NGTDM) adds whole neighbourhoods in the same order, so that the
matrices equal ``radiomics.cMatrices`` to the last bit (tests/radiomics/test_fast_radiomics.py).
"""

from __future__ import annotations

import itertools
import types
from typing import Any

import numba
import numpy as np


def directions(
    size: np.ndarray, force2d: bool = False, force2d_dimension: int = 0, distances: tuple[int, ...] = (1,)
) -> np.ndarray:
    """PyRadiomics' directions of these distances in a box of ``size`` voxels, one of each opposite pair, (n, 3) int32.

    In its order, but not by its ``cMatrices.generate_angles``: this writes four bytes into a variable of one, which
    ends in a segmentation fault where clang or zig compiled it. RuntimeError where there is no direction.
    """
    found = [
        steps
        for steps in itertools.product(range(max(distances), -max(distances) - 1, -1), repeat=len(size))
        if max(map(abs, steps)) in distances
        and all(abs(step) < n for step, n in zip(steps, size, strict=True))
        and not (force2d and steps[force2d_dimension])
    ]
    if not found:
        far = "" if distances == (1,) else f" at the distances {list(distances)}"
        raise RuntimeError(f"the region has no two voxels side by side{far}; draw it again")
    return np.array(found[: len(found) // 2], dtype=np.int32)


class Neighbours:
    """Voxels of a mask as nodes, and for every direction the next voxel ahead and behind (-1 if outside).

    inside: (z, y, x) bool; the directions are PyRadiomics' own, one of each opposite pair.
    """

    def __init__(
        self,
        inside: np.ndarray,
        force2d: bool = False,
        force2d_dimension: int = 0,
        distances: tuple[int, ...] = (1,),
    ):
        size, reach = np.array(inside.shape), max(distances)
        self.angles = directions(size, force2d, force2d_dimension, distances)
        node = np.full(size + 2 * reach, -1, dtype=np.int32)  # a border of -1 spares every range check
        where = np.argwhere(inside) + reach
        node[tuple(where.T)] = np.arange(len(where))
        self.ahead = np.stack([node[tuple((where + a).T)] for a in self.angles], axis=1)
        self.behind = np.stack([node[tuple((where - a).T)] for a in self.angles], axis=1)
        # of the two, the one whose node has the higher number (they are numbered along z, y, x)
        forward = np.array([next(int(step) for step in a if step) > 0 for a in self.angles], dtype=bool)
        self.later = np.where(forward, self.ahead, self.behind)
        self.earlier = np.where(forward, self.behind, self.ahead)
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

    near, far: neighbours at distance 1, for runs and zones, and at those of the settings, for all else;
    bins: (voxels,) grey levels from 1 in their order.
    """

    def __init__(self, near: Neighbours, far: Neighbours, bins: np.ndarray):
        self._near, self._far, self._bins = near, far, bins.astype(np.int32) - 1

    def calculate_glcm(self, image, mask, distances, levels, force2d, dimension):
        """Grey level co-occurrence (1, levels, levels, directions) and the directions."""
        return _glcm(self._bins, self._far.ahead, levels)[None], self._far.angles

    def calculate_glrlm(self, image, mask, levels, longest, force2d, dimension):
        """Grey level run lengths (1, levels, lengths, directions) and the directions."""
        runs = _glrlm(self._bins, self._near.later, levels, longest)
        runs[:, :, ~self._near.lined] = 0
        return runs[None], self._near.angles

    def calculate_glszm(self, image, mask, levels, voxels, force2d, dimension):
        """Grey level size zones (1, levels, sizes)."""
        return _glszm(self._bins, self._near.earlier, levels)[None]

    def calculate_gldm(self, image, mask, distances, levels, alpha, force2d, dimension):
        """Grey level dependence (1, levels, neighbours)."""
        return _gldm(self._bins, self._far.ahead, self._far.behind, levels, alpha)[None]

    def calculate_ngtdm(self, image, mask, distances, levels, force2d, dimension):
        """Neighbouring grey tone differences (1, levels, 3): n, s and level."""
        return _ngtdm(self._bins, self._far.ahead, self._far.behind, levels)[None]


def use(feature_class: Any, matrices: Matrices) -> None:
    """Let this object's ``_calculateMatrix``, PyRadiomics' own, call ``matrices`` for ``cMatrices``."""
    own = type(feature_class)._calculateMatrix
    feature_class._calculateMatrix = types.MethodType(with_globals(own, cMatrices=matrices), feature_class)


def with_globals(function: types.FunctionType, **replaced: object) -> types.FunctionType:
    """The same code, in which some global names mean something else."""
    return types.FunctionType(
        function.__code__, {**function.__globals__, **replaced}, function.__name__, function.__defaults__
    )


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
def _glrlm(bins, later, levels, longest):  # pragma: no cover - compiled
    """Runs grow backwards voxel by voxel, without a branch to mispredict.

    Counted is each voxel by its place in its run; as many runs are of one length as voxels have that place, less
    those that have the next.
    """
    n, directions = later.shape
    level_of = np.empty(n + 1, np.int32)
    level_of[:n] = bins
    level_of[n] = -1  # what the index -1 finds
    run = np.zeros((n + 1, directions), np.int32)
    places = np.zeros((levels, longest + 1, directions), np.int32)
    for i in range(n - 1, -1, -1):
        level = level_of[i]
        for k in range(directions):
            j = later[i, k]
            place = np.int32(level_of[j] == level) * run[j, k]
            run[i, k] = place + 1
            places[level, place, k] += 1
    out = np.empty((levels, longest, directions))
    for level in range(levels):
        for place in range(longest):
            for k in range(directions):
                out[level, place, k] = places[level, place, k] - places[level, place + 1, k]
    return out


@numba.njit(cache=True)
def _glszm(bins, earlier, levels):  # pragma: no cover - compiled
    """Zones of equal level by level and size; disjoint sets with path halving."""
    n = bins.size
    parent = np.empty(n, np.int32)
    size = np.ones(n, np.int64)
    for i in range(n):
        root = np.int32(i)
        parent[i] = root
        for k in range(earlier.shape[1]):
            j = earlier[i, k]
            if j < 0 or bins[j] != bins[i]:
                continue
            while parent[j] != j:
                parent[j] = parent[parent[j]]
                j = parent[j]
            if j != root:  # the lower number becomes the root, so that every parent comes before its children
                low, high = min(j, root), max(j, root)
                parent[high] = low
                root = low
    for i in range(n - 1, -1, -1):
        if parent[i] != i:
            size[parent[i]] += size[i]
    largest = 0
    for i in range(n):
        if parent[i] == i:
            largest = max(largest, size[i])
    out = np.zeros((levels, largest))
    for i in range(n):
        if parent[i] == i:
            out[bins[i], size[i] - 1] += 1
    return out


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
