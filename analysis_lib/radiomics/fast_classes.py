"""PyRadiomics' own feature classes, given what ``fast_radiomics`` has prepared and without their repeated work.

Their formulas stay theirs. Checks, copies and logging of their constructors are left out, means are taken without a
search for missing values where there are none, and first-order statistics share one sorted copy of the voxels.
"""

from __future__ import annotations

import logging
import types
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from radiomics import getFeatureClasses, imageoperations

from analysis_lib.radiomics.fast_matrices import Matrices, Neighbours, use, with_globals
from analysis_lib.radiomics.fast_mesh import mesh_coefficients
from analysis_lib.radiomics.plan import TEXTURE, ExtractionError


@dataclass
class Region:
    """The mask, cropped to its bounding box."""

    box: tuple[slice, ...]
    inside: np.ndarray  # (z, y, x) bool of the box
    spacing_xyz: tuple[float, ...]
    neighbours: dict[tuple, Neighbours] = field(default_factory=dict)

    def matrices(self, bins: np.ndarray, settings: dict) -> Matrices:
        """Texture matrices of binned grey levels (voxels,)."""
        plane = (settings.get("force2D", False), settings.get("force2Ddimension", 0))
        both = [(*plane, distances) for distances in ((1,), tuple(sorted(set(settings.get("distances", [1])))))]
        for key in both:
            if key not in self.neighbours:
                self.neighbours[key] = Neighbours(self.inside, *key)
        near, far = (self.neighbours[key] for key in both)
        return Matrices(near, far, bins)


def shape_class(region: Region, settings: dict) -> Any:
    """PyRadiomics' shape class, its constructor's work done with the fast mesh."""
    shape = _bare("shape", settings)
    shape.pixelSpacing = np.array(region.spacing_xyz[::-1])
    shape.maskArray = np.pad(region.inside, 1)
    shape.labelledVoxelCoordinates = np.where(shape.maskArray)
    shape.SurfaceArea, shape.Volume, shape.diameters = mesh_coefficients(shape.maskArray, shape.pixelSpacing)
    coordinates = np.array(shape.labelledVoxelCoordinates, dtype=int).T * shape.pixelSpacing
    coordinates = (coordinates - coordinates.mean(axis=0)) / np.sqrt(len(coordinates))
    eigenvalues = np.linalg.eigvals(coordinates.T.copy() @ coordinates)
    eigenvalues[(eigenvalues < 0) & (eigenvalues > -1e-10)] = 0
    shape.eigenValues = np.sort(eigenvalues)
    return shape


def _bare(name: str, settings: dict) -> Any:
    """An object of a PyRadiomics feature class with nothing computed yet."""
    feature_class: Any = _CLASSES.get(name) or getFeatureClasses()[name]
    bare = feature_class.__new__(feature_class)
    bare.logger = _SILENT
    bare.settings = settings
    bare.label = settings.get("label", 1)
    bare.voxelBased = False
    bare.coefficients = {}
    bare.symmetricalGLCM = settings.get("symmetricalGLCM", True)
    bare.weightingNorm = settings.get("weightingNorm")
    bare.gldm_a = settings.get("gldm_a", 0)
    bare.voxelArrayShift = settings.get("voxelArrayShift", 0)
    return bare


class _FirstOrder(getFeatureClasses()["firstorder"]):  # type: ignore[misc]  # PyRadiomics has no types
    """On voxels sorted by intensity, each sum taken once; no missing values."""

    def prepare(self, values: np.ndarray) -> None:
        self._sorted = _in_order(np.asarray(values, np.float64))
        self.targetVoxelArray = self._sorted.reshape(1, -1)
        deviation = self._sorted - self._sorted.mean()
        square = deviation * deviation
        self._absolute_deviation = np.abs(deviation).mean()
        self._moments = {2: square.mean(), 3: (square * deviation).mean(), 4: (square * square).mean()}
        shifted = self._sorted + self.voxelArrayShift
        self._energy = (shifted * shifted).sum()

    def _moment(self, _, moment: int = 1) -> np.ndarray:
        return np.array([self._moments[moment]])

    def getStandardDeviationFeatureValue(self):
        return np.sqrt(np.array([self._moments[2]]))

    def getVarianceFeatureValue(self):
        return self.getStandardDeviationFeatureValue() ** 2

    def _percentile(self, percent: float) -> float:
        """That of ``numpy.percentile`` (linear), to the last bit."""
        position = percent / 100 * (len(self._sorted) - 1)
        below = int(position)
        part = position - below
        low, high = self._sorted[below], self._sorted[min(below + 1, len(self._sorted) - 1)]
        return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part

    def getEnergyFeatureValue(self):
        return np.array([self._energy])

    def getRootMeanSquaredFeatureValue(self):
        return np.sqrt(self._energy / len(self._sorted))

    def getMinimumFeatureValue(self):
        return self._sorted[0]

    def getMaximumFeatureValue(self):
        return self._sorted[-1]

    def getRangeFeatureValue(self):
        return self._sorted[-1] - self._sorted[0]

    def getMeanFeatureValue(self):
        return self._sorted.mean()

    def getMedianFeatureValue(self):
        return self._sorted[(len(self._sorted) - 1) // 2 : len(self._sorted) // 2 + 1].mean()

    def get10PercentileFeatureValue(self):
        return self._percentile(10)

    def get90PercentileFeatureValue(self):
        return self._percentile(90)

    def getInterquartileRangeFeatureValue(self):
        return self._percentile(75) - self._percentile(25)

    def getMeanAbsoluteDeviationFeatureValue(self):
        return self._absolute_deviation

    def getRobustMeanAbsoluteDeviationFeatureValue(self):
        first = np.searchsorted(self._sorted, self._percentile(10), side="left")
        last = np.searchsorted(self._sorted, self._percentile(90), side="right")
        middle = self._sorted[first:last]
        return np.abs(middle - middle.mean()).mean()


def _mean(values: np.ndarray, axis: Any) -> np.ndarray:
    """``numpy.nanmean`` for the usual case that nothing is missing, a fifth of its time."""
    mean = values.mean(axis)
    return np.nanmean(values, axis) if np.isnan(mean).any() else mean


def _sum(values: np.ndarray, axis: Any = None, keepdims: bool = False) -> Any:
    """``numpy.sum`` without its wrapper, which takes as long as the sum of a small matrix."""
    return np.add.reduce(values, axis=axis, keepdims=keepdims)  # type: ignore[call-overload]  # as numpy.sum itself


def _lean(name: str) -> type:
    """PyRadiomics' texture class with ``_mean`` and ``_sum`` for numpy's."""
    own = getFeatureClasses()[name]
    shim = types.SimpleNamespace(**{**vars(np), "nanmean": _mean, "sum": _sum})
    methods = {
        key: with_globals(function, numpy=shim)
        for key, function in vars(own).items()
        if key.endswith("FeatureValue") or key.startswith("_calculate")
    }
    return type(own.__name__, (own,), methods)


_CLASSES = {"firstorder": _FirstOrder} | {name: _lean(name) for name in TEXTURE}
_SILENT = logging.getLogger("analysis_lib.radiomics.fast_classes.silent")
_SILENT.setLevel(logging.CRITICAL + 1)


def image_features(
    name: str, values: np.ndarray, region: Region, classes: dict[str, list[str]], settings: dict
) -> dict[str, Any]:
    """First order and texture of one image (``name``) from the intensities of the mask's voxels, (voxels,)."""
    if not np.isfinite(values).all():
        raise ExtractionError(f"{name}: intensities inside the mask are not finite numbers")
    bins, levels = _discretise(name, values, settings)
    textures = any(class_name in TEXTURE for class_name in classes)
    matrices = region.matrices(bins, settings) if textures else None
    matrix = np.zeros(region.inside.shape, dtype=np.int32)
    matrix[region.inside] = bins
    result: dict[str, Any] = {}
    for class_name, features in classes.items():
        if class_name.startswith("shape"):
            continue
        one = _bare(class_name, settings)
        one.coefficients |= {"grayLevels": levels, "Ng": int(levels.max())}
        one.maskArray = region.inside
        one.inputImage = types.SimpleNamespace(GetSpacing=lambda: region.spacing_xyz)
        if class_name == "firstorder":
            one.pixelSpacing = region.spacing_xyz
            one.prepare(values)
            counts = np.bincount(bins)[levels].reshape(1, -1)
            one.coefficients["p_i"] = counts.astype(float) / counts.sum()
        else:
            one.imageArray = matrix
            if matrices is not None:
                use(one, matrices)
            one._initCalculation()
        result |= feature_values(one, name, class_name, features)
    return result


def _discretise(name: str, values: np.ndarray, settings: dict) -> tuple[np.ndarray, np.ndarray]:
    """Bin number of each voxel, from 1, and the bins that occur."""
    ends = values if settings.get("binCount") is not None else np.array([values.min(), values.max()])
    edges = imageoperations.getBinEdges(ends, **settings)
    if (first := settings.get("first_level_at")) is not None and settings.get("binCount") is None:
        if values.min() < first:
            raise ExtractionError(
                f"{name}: intensity {values.min():g} is below first_level_at; set resegmentRange to start there"
            )
        edges = np.arange(first, values.max() + 2 * settings.get("binWidth", 25), settings.get("binWidth", 25))
    bins = _digitise(values, edges)
    return bins, np.flatnonzero(np.bincount(bins))


@numba.njit(cache=True)
def _digitise(values, edges):  # pragma: no cover - compiled
    """``numpy.digitize``, started where evenly spaced edges put the value."""
    bins = np.empty(values.size, np.int64)
    per_edge = (edges.size - 1) / (edges[-1] - edges[0])
    for i in range(values.size):
        value = np.float64(values[i])
        k = min(max(int((value - edges[0]) * per_edge), 0), edges.size)
        while k < edges.size and edges[k] <= value:
            k += 1
        while k > 0 and edges[k - 1] > value:
            k -= 1
        bins[i] = k
    return bins


@numba.njit(cache=True)
def _in_order(values):  # pragma: no cover - compiled
    """``numpy.sort`` of float64 without NaN, by digits of eleven bits: fast without kernels of one processor."""
    bits = values.copy().view(np.uint64)
    top = np.uint64(1) << np.uint64(63)
    for i in range(bits.size):  # keys that rise as the numbers do
        bits[i] = ~bits[i] if bits[i] & top else bits[i] | top
    other, place, digits = np.empty_like(bits), np.zeros((6, 2049), np.int64), np.uint64(2047)
    for key in bits:
        for k in range(6):
            place[k, ((key >> np.uint64(11 * k)) & digits) + np.uint64(1)] += 1
    for k in range(6):
        if place[k].max() == bits.size:
            continue  # all have the same digit
        here = np.cumsum(place[k])
        for key in bits:
            digit = (key >> np.uint64(11 * k)) & digits
            other[here[digit]] = key
            here[digit] += 1
        bits, other = other, bits
    for i in range(bits.size):
        bits[i] = bits[i] & ~top if bits[i] & top else ~bits[i]
    return bits.view(np.float64)


def feature_values(feature_class, image: str, class_name: str, features: list[str]) -> dict[str, Any]:
    """Values of a feature class by PyRadiomics' names; ExtractionError names the feature that fails."""
    out = {}
    for feature in features:
        name = f"{image}_{class_name}_{feature}"
        try:
            out[name] = getattr(feature_class, f"get{feature}FeatureValue")()
        except Exception as error:  # the same that PyRadiomics turns into NaN without a word
            raise ExtractionError(f"{name} failed: {error}") from error
    return out
