"""ITK's single precision in its Laplacian of Gaussian, as far as it shows in a feature.

ITK stores each intermediate image in single precision. Voxels whose value decides a bin or an order statistic are
therefore recomputed with ITK's own order and rounding, and where a feature is a small rest, so that rounding anywhere
could show, all of them are, to the last bit (``fast_log_itk``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from analysis_lib.radiomics.fast_log import LaplacianOfGaussian, edge_weights
from analysis_lib.radiomics.fast_log_itk import is_as_itk, laplacian

_MANY = 200  # voxels that cost more one by one than the whole box
_FEW_SMALL = 4  # voxels for each of which a box of its own is filtered
_CUT_OFF = 1e-11  # of the largest intensity: what the filter loses beyond the ends of its weights
_ROUNDING = 2e-7  # of the largest intensity: ITK's error; 1e-7 is the largest met


class ItkLaplacian(LaplacianOfGaussian):
    """The same, in single-precision values from which every feature comes out as from ITK's."""

    def __init__(self, image: sitk.Image, sigmas_mm: list[float], box: tuple[slice, ...], inside: np.ndarray):
        super().__init__(image, sigmas_mm, box, inside)
        self.repeated = is_as_itk()  # here, so that the first patient compiles it for all, needed or not
        # the largest absolute intensity sets the rounding error that ITK can have made
        self.largest = max(abs(float(self.volume.max())), abs(float(self.volume.min()))) if self.sigmas_mm else 0.0

    def as_itk(self, settings: dict[str, Any]) -> dict[float, np.ndarray]:
        """{sigma: float32 values of the mask's voxels} of every sigma asked for.

        Recomputed with ITK's rounding are voxels at the edge of a bin, and those that an order statistic may be; all,
        to the last bit, where these are many, or where a feature is so small a rest that the rounding of any shows.
        """
        values = self.values()
        doubts = {sigma: self._doubtful(sigma, values[sigma], settings) for sigma in self.sigmas_mm}
        places = np.argwhere(self.inside) + [part.start for part in self.box]
        exact = self.exact({sigma: places[doubt[0]] for sigma, doubt in doubts.items() if doubt is not None})
        self.forget()
        out = {}
        for sigma in self.asked_mm:
            settled = None
            if (doubt := doubts.get(sigma)) is not None:
                doubtful, small = doubt
                for k in np.flatnonzero(small[doubtful]):
                    voxel = tuple(slice(i, i + 1) for i in places[doubtful][k].tolist())
                    exact[sigma][k] = self._by_itk(sigma, voxel)[0, 0, 0]
                settled = self._settled(sigma, values[sigma], doubtful, exact[sigma])
            out[sigma] = self._by_itk(sigma, self.box)[self.inside] if settled is None else settled
        return out

    def _doubtful(
        self, sigma: float, values: np.ndarray, settings: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Voxels to recompute, and of these the small ones, to the last bit; None if that is all."""
        tolerance = _ROUNDING * self.largest
        doubtful = _near_bin_edge(values, tolerance, settings)
        at = np.quantile(np.arange(len(values)), [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
        ranks = np.unique(np.concatenate([np.floor(at), np.ceil(at)])).astype(int)
        small = np.zeros(len(values), bool)  # an order statistic in which one rounding that differs would show
        for value in np.partition(values, ranks)[ranks]:
            at_rank = np.abs(values - value) <= 2 * tolerance
            doubtful |= at_rank
            if abs(value) < 1e6 * _CUT_OFF * self.largest:
                small |= at_rank
        many = len(values) <= _MANY or doubtful.sum() > _MANY or small.sum() > _FEW_SMALL
        return None if many else (doubtful, small)

    def _settled(self, sigma: float, values: np.ndarray, doubtful: np.ndarray, exact: np.ndarray) -> np.ndarray | None:
        """Values of which the doubtful are the exact ones; None where the others' error could still show."""
        # as found; the rounding of one step is smoothed by the next, so that voxels within sigma share it
        shared = np.prod([max(1.0, 2 * sigma / mm) for mm in self.spacing_mm[1:]])
        error = np.sqrt(np.mean((exact - values[doubtful]) ** 2)) + 1e-10 * self.largest
        error *= min(1.0, np.sqrt(shared / len(values)))
        if not _steady(values, error):
            return None
        out = values.astype(np.float32)
        out[doubtful] = exact
        return out

    def _by_itk(self, sigma_mm: float, box: tuple[slice, ...]) -> np.ndarray:
        """Values (z, y, x) of ``box`` to the last bit; ITK's own where it rounds otherwise, or a value is missing."""
        if self.finite and self.repeated:
            return laplacian(self.volume, self.spacing_mm, sigma_mm, box)
        log = sitk.LaplacianRecursiveGaussianImageFilter()
        log.SetNormalizeAcrossScale(True)
        log.SetSigma(sigma_mm)
        return sitk.GetArrayFromImage(log.Execute(self.image))[box]

    def exact(self, wanted: dict[float, np.ndarray]) -> dict[float, np.ndarray]:
        """ITK's values at the voxels of each sigma ((n, 3) of z, y, x), with its order of axes and its rounding.

        Each derivative first, then the smoothing from x to z, every step rounded as ITK's images are.
        """
        voxels = {sigma: [self._voxel(sigma, p) for p in places.tolist()] for sigma, places in wanted.items()}
        flat = [voxel for some in voxels.values() for voxel in some]
        for z in range(len(self.volume)):
            if there := [voxel for voxel in flat if voxel.smooth[0][z]]:
                plane = self.volume[z].astype(np.float64)
                for voxel in there:
                    voxel.add(plane, z)
        for z in {voxel.z for voxel in flat}:
            for sigma, some in voxels.items():
                plane = _single(self.contract(z)[sigma][1])
                for voxel in some:
                    if voxel.z == z:
                        voxel.add_along_z(plane, self.near[sigma])
        return {
            sigma: np.array([self._total(v.along_x, v.along_y, v.along_z) for v in some])
            for sigma, some in voxels.items()
        }

    def _total(self, along_x: Any, along_y: Any, along_z: Any) -> Any:
        dz, dy, dx = (1.0 / (s * s) for s in self.spacing_mm)
        total = _single(_single(along_x) * dx)
        total = _single(total + _single(along_y) * dy)
        return np.float32(total + _single(along_z) * dz)

    def _voxel(self, sigma: float, place: list[int]) -> _Voxel:
        window, smooth, second = [], [self.through(sigma, 0, place[0])], [self.through(sigma, 2, place[0])]
        for axis in (1, 2):
            size = self.volume.shape[axis]
            first, weights = edge_weights(self.kernels[sigma, axis, 0], place[axis], size)
            smooth.append(weights)
            second.append(edge_weights(self.kernels[sigma, axis, 2], place[axis], size)[1])
            window.append(slice(first, first + len(weights)))
        return _Voxel(place[0], tuple(window), smooth, second)


@dataclass
class _Voxel:
    """The three second derivatives at one voxel as ITK has them.

    window: rows and columns of the image; smooth, second: weights along z (all slices), y and x (of the window).
    """

    z: int
    window: tuple[slice, ...]
    smooth: list[np.ndarray]
    second: list[np.ndarray]
    along_x: float = 0.0
    along_y: float = 0.0
    along_z: float = 0.0

    def add(self, plane: np.ndarray, z: int) -> None:
        """What slice z has to do with those in x and y."""
        part, weight = plane[self.window], self.smooth[0][z]
        self.along_x += weight * np.float32(_single(part @ self.second[2]) @ self.smooth[1])
        self.along_y += weight * np.float32(_single(self.second[1] @ part) @ self.smooth[2])

    def add_along_z(self, plane: np.ndarray, near: tuple[slice, ...]) -> None:
        """plane: second derivative in z at this voxel's slice, of the rows and columns ``near``."""
        part = tuple(slice(w.start - n.start, w.stop - n.start) for w, n in zip(self.window, near, strict=True))
        self.along_z = _single(plane[part] @ self.smooth[2]) @ self.smooth[1]


def _single(values: Any) -> Any:
    """Rounded to single precision, in double; of one value or of an array."""
    return np.float64(np.float32(values))


def _near_bin_edge(values: np.ndarray, tolerance: float, settings: dict[str, Any]) -> np.ndarray:
    """Voxels that an error of ``tolerance`` could put into another bin, or that set the bins."""
    count = settings.get("binCount")
    if count is None:
        width = settings.get("binWidth", 25)
        offset = values % width
        return (offset <= tolerance) | (offset >= width - tolerance)
    low, high = values.min(), values.max()
    width = (high - low) / count
    ends = (values <= low + 2 * tolerance) | (values >= high - 2 * tolerance)
    if width <= 4 * tolerance:
        return np.ones(len(values), dtype=bool)
    offset = (values - low) % width
    return ends | (offset <= 2 * tolerance) | (offset >= width - 2 * tolerance)


def _steady(values: np.ndarray, error: float) -> bool:
    """Whether moments stay within 1e-6 (mean and skewness 1e-5) if their sums err by ``error`` a voxel."""
    mean = values.mean()
    deviation = values - mean
    square = deviation * deviation
    spread = np.sqrt(square.mean())
    third = (square * deviation).mean()
    error *= 3  # of an error that is normal
    return error < 2.5e-7 * spread and error < 1e-5 * abs(mean) and 3 * error * spread**2 < 1e-5 * abs(third)
