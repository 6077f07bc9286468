"""PyRadiomics' Laplacian of Gaussian images, evaluated only where a mask needs them.

PyRadiomics filters the whole image and then looks at the mask. The filter is separable and linear, so the values
on a few slices follow from one weighted sum through the plane and filters in the plane of those slices alone.
Nothing is cropped: weights down to 1e-11 of the largest take part, a thousandth of what ITK's rounding loses.

It is ITK's recursive filter. Its impulse response is known in closed form, and outside the image it repeats the
edge value. ITK stores each intermediate image in single precision; voxels whose value decides a bin or an order
statistic are therefore recomputed with ITK's own order and rounding (``LaplacianOfGaussian.exact``), and where a
feature is a small rest, so that rounding anywhere could show, ITK itself filters the image (``as_itk``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import SimpleITK as sitk

_FAR = 18.5  # sigmas until the slower of Deriche's exponentials, exp(-1.3732 n / sigma), is below 1e-11
_FARTHEST = 27.0  # sigmas until it is below 1e-16
_FEW_SMALL = 4  # voxels for each of which ITK filters a block of its own
_CUT_OFF = 1e-11  # of the largest intensity: what is lost beyond
_EXACT = 2e-10  # of the largest intensity: root mean square error of ``exact``, in which few roundings differ
_ROUNDING = 2e-7  # of the largest intensity: ITK's error; 1e-7 is the largest met
_BAND = 32  # lines that are filtered at once
_AT_ONCE = 2**18  # voxels that are converted to double precision at once: 2 MB stay in the cache
_FINEST = 0.1  # sigma / spacing, below which the closed form loses its digits (the derivative is a rest of 1e-6)

# Deriche's fourth-order fit to the Gaussian and its second derivative as ITK has it: the response at distance
# n >= 0 is the sum over two terms of (a cos(w n / sigma) + b sin(w n / sigma)) exp(l n / sigma).
_W, _L = (0.6681, 2.0787), (-1.3932, -1.3732)
_SMOOTH = ((1.3530, -0.3531), (1.8151, 0.0902))
_SECOND = ((-1.3563, 0.3446), (5.2318, -2.2355))


@lru_cache(maxsize=256)
def _response(sigma_mm: float, spacing_mm: float, order: int) -> np.ndarray:
    """Impulse response of ITK's recursive Gaussian (scale-normalised), odd length, centre in the middle.

    Deriche 1993, INRIA report 1893, and Farneback and Westin 2006, doi 10.1007/s10851-006-8464-z.
    """
    n = np.arange(int(np.ceil(2 * _FAR * sigma_mm / spacing_mm)) + 4) * (spacing_mm / sigma_mm)
    gauss = _fit(n, _SMOOTH)
    if order == 0:
        half = gauss / (2 * gauss.sum() - gauss[0])  # a constant stays what it is
    else:
        half = _fit(n, _SECOND)
        half -= gauss * ((2 * half.sum() - half[0]) / (2 * gauss.sum() - gauss[0]))  # a constant gives zero
        half *= sigma_mm**2 / np.sum(half * np.arange(len(n)) ** 2)  # x^2 / 2 gives sigma^2
    half = half[: max(4, int(np.ceil(_FAR * sigma_mm / spacing_mm))) + 1]
    return np.concatenate([half[:0:-1], half])


def _fit(n: np.ndarray, terms: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    return sum(
        (a * np.cos(w * n) + b * np.sin(w * n)) * np.exp(decay * n)
        for a, b, w, decay in zip(*terms, _W, _L, strict=True)
    )


def _edge_weights(response: np.ndarray, centre: int, size: int) -> tuple[int, np.ndarray]:
    """Weights of the voxels first .. first + len - 1 of a line in its filtered value at ``centre``.

    ITK starts both its recursions as if the edge value went on for ever: the tails fall on the edge voxels.
    """
    half = len(response) // 2
    first, last = max(0, centre - half), min(size - 1, centre + half)
    weights = response[::-1][first - centre + half : last - centre + half + 1].copy()
    if centre - half < 0:
        weights[0] += response[::-1][: half - centre].sum()
    if centre + half > size - 1:
        weights[-1] += response[::-1][size - centre + half :].sum()
    return first, weights


class LaplacianOfGaussian:
    """``SimpleITK.LaplacianRecursiveGaussian`` (normalised across scale) of one image, on the voxels of a mask.

    image: 3-D, of an integer type or float32; sigmas_mm: as PyRadiomics is given them; box: slices (z, y, x) that
    hold the mask; inside: (z, y, x) bool of the box.
    """

    def __init__(self, image: sitk.Image, sigmas_mm: list[float], box: tuple[slice, ...], inside: np.ndarray):
        self.image, self.box, self.inside = image, box, inside
        self.volume, self.spacing_mm = sitk.GetArrayViewFromImage(image), image.GetSpacing()[::-1]
        self.finite = self.volume.dtype.kind != "f" or np.isfinite(self.volume).all()  # ITK spreads a NaN far
        self.asked_mm = [float(s) for s in dict.fromkeys(sigmas_mm)]
        self.sigmas_mm = sorted(s for s in self.asked_mm if self.finite and s >= _FINEST * max(self.spacing_mm))
        self.kernels = {
            (sigma, axis, order): _response(sigma, self.spacing_mm[axis], order)
            for sigma in self.sigmas_mm
            for axis in range(3)
            for order in (0, 2)
        }
        # the largest absolute intensity sets the rounding error that ITK can have made
        self.largest = max(abs(float(self.volume.max())), abs(float(self.volume.min()))) if self.sigmas_mm else 0.0
        reach = [max((len(self.kernels[s, axis, 0]) // 2 for s in self.sigmas_mm), default=0) for axis in range(3)]
        self.near = tuple(  # what a filter in the plane can see from the box
            slice(max(0, part.start - far), min(size, part.stop + far))
            for part, far, size in zip(box[1:], reach[1:], self.volume.shape[1:], strict=True)
        )
        self._planes: tuple[int, np.ndarray] | None = None  # the slice that ``_contract`` saw last, and its answer

    def as_itk(self, settings: dict[str, Any]) -> dict[float, np.ndarray]:
        """{sigma: single-precision values of the mask's voxels}, from which features come out as from ITK's.

        Recomputed with ITK's rounding are voxels at the edge of a bin, and those that an order statistic may be. ITK
        filters the image itself where too many are, or where a feature is so small a rest that the rounding of any
        voxel shows.
        """
        values = self.values()
        doubts = {sigma: self._doubtful(sigma, values[sigma], settings) for sigma in self.sigmas_mm}
        places = np.argwhere(self.inside) + [part.start for part in self.box]
        exact = self.exact({sigma: places[doubt[0]] for sigma, doubt in doubts.items() if doubt is not None})
        self._planes = None
        out = {}
        for sigma in self.asked_mm:
            settled = None
            if sigma in exact:
                doubtful, small = doubts[sigma]
                for k in np.flatnonzero(small[doubtful]):
                    voxel = tuple(slice(i, i + 1) for i in places[doubtful][k].tolist())
                    exact[sigma][k] = self._by_itk(sigma, voxel)[0, 0, 0]
                settled = self._settled(sigma, values[sigma], doubtful, exact[sigma])
            out[sigma] = self._by_itk(sigma, self.box)[self.inside] if settled is None else settled
        return out

    def _doubtful(
        self, sigma: float, values: np.ndarray, settings: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Voxels to recompute, and of these the small ones, which ITK must filter; None if that is ITK's for all."""
        tolerance = _ROUNDING * self.largest
        doubtful = _near_bin_edge(values, tolerance, settings)
        ranks = np.quantile(np.arange(len(values)), [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
        ranks = np.unique(np.concatenate([np.floor(ranks), np.ceil(ranks)])).astype(int)
        small = np.zeros(len(values), bool)  # an order statistic in which one rounding that differs would show
        for value in np.partition(values, ranks)[ranks]:
            at_rank = np.abs(values - value) <= 2 * tolerance
            doubtful |= at_rank
            if abs(value) < 1e6 * _CUT_OFF * self.largest:
                small |= at_rank
        kernels = [len(self.kernels[sigma, axis, 0]) for axis in range(3)]
        one_voxel = 3 * np.prod(np.minimum(kernels, self.volume.shape))
        few = 300 * self.volume.size / one_voxel  # voxels that together cost what ITK does
        if len(values) <= few / 4:
            doubtful[:] = True
        return None if doubtful.sum() > few or small.sum() > _FEW_SMALL else (doubtful, small)

    def _settled(self, sigma: float, values: np.ndarray, doubtful: np.ndarray, exact: np.ndarray) -> np.ndarray | None:
        """Values of which the doubtful are the exact ones; None where the others' error could still show."""
        if doubtful.all():
            error = _EXACT * self.largest
        else:  # as found; the rounding of one step is smoothed by the next, so that voxels within sigma share it
            shared = np.prod([max(1.0, 2 * sigma / mm) for mm in self.spacing_mm[1:]])
            error = np.sqrt(np.mean((exact - values[doubtful]) ** 2)) + 1e-10 * self.largest
            error *= min(1.0, np.sqrt(shared / len(values)))
        if not _steady(values, error):
            return None
        out = values.astype(np.float32)
        out[doubtful] = exact
        return out

    def _by_itk(self, sigma_mm: float, box: tuple[slice, ...]) -> np.ndarray:
        """ITK's own filter, (z, y, x) of ``box``; what lies beyond the margin adds less than a double's last bit."""
        image, inner = self.image, box
        if self.finite:
            outer, inner = [], []
            for part, size, mm in zip(box, self.volume.shape, self.spacing_mm, strict=True):
                margin = max(8, int(np.ceil(_FARTHEST * sigma_mm / mm)))
                start, stop = max(0, part.start - margin), min(size, part.stop + margin)
                outer.append(slice(start, stop))
                inner.append(slice(part.start - start, part.stop - start))
            z, y, x = outer
            image = image[x, y, z]
        log = sitk.LaplacianRecursiveGaussianImageFilter()
        log.SetNormalizeAcrossScale(True)
        log.SetSigma(sigma_mm)
        filtered = log.Execute(image)
        return sitk.GetArrayViewFromImage(filtered)[tuple(inner)].copy()  # a view would not hold the image

    def values(self) -> dict[float, np.ndarray]:
        """{sigma: float64 values of the mask's voxels}, exact but for ITK's rounding (see ``exact``)."""
        part = self.box[0]
        out: dict[float, list[np.ndarray]] = {sigma: [] for sigma in self.sigmas_mm}
        for z in range(part.start, part.stop) if self.sigmas_mm else ():
            planes, inside = self._contract(z), self.inside[z - part.start]
            for i, sigma in enumerate(self.sigmas_mm):
                out[sigma].append(self._in_plane(sigma, planes[2 * i], planes[2 * i + 1])[inside])
        return {sigma: np.concatenate(slices) for sigma, slices in out.items()}

    def _contract(self, z: int) -> np.ndarray:
        """Weighted sums through the plane: (2 x sigmas, y, x) of ``near``, smoothed and second derivative by turns."""
        if self._planes is not None and self._planes[0] == z:
            return self._planes[1]
        n = self.volume.shape[0]
        weights = np.zeros((2 * len(self.sigmas_mm), n))
        for i, sigma in enumerate(self.sigmas_mm):
            for k, order in enumerate((0, 2)):
                first, w = _edge_weights(self.kernels[sigma, 0, order], z, n)
                weights[2 * i + k, first : first + len(w)] = w
        volume = self.volume[(slice(None), *self.near)]
        planes = np.empty((len(weights), *volume.shape[1:]))
        rows = max(1, _AT_ONCE // volume[:, 0].size)
        for start in range(0, planes.shape[1], rows):
            block = volume[:, start : start + rows].astype(np.float64)
            planes[:, start : start + rows] = np.tensordot(weights, block, 1)
        self._planes = z, planes
        return planes

    def _in_plane(self, sigma: float, smooth: np.ndarray, second: np.ndarray) -> np.ndarray:
        dz, dy, dx = (s * s for s in self.spacing_mm)
        y, x = (slice(b.start - n.start, b.stop - n.start) for b, n in zip(self.box[1:], self.near, strict=True))
        k = {key[1:]: self.kernels[key] for key in self.kernels if key[0] == sigma}
        far = len(k[2, 0]) // 2
        columns = slice(max(0, x.start - far), min(smooth.shape[1], x.stop + far))
        smooth, second, x = (
            smooth[:, columns],
            second[:, columns],
            slice(x.start - columns.start, x.stop - columns.start),
        )
        smooth_y, second_y = _band(smooth, k[1, 0], y), _band(second, k[1, 0], y)
        rows = second_y / dz + _band(smooth, k[1, 2], y) / dy
        return (_band(rows.T, k[2, 0], x) + _band(smooth_y.T, k[2, 2], x) / dx).T

    def exact(self, wanted: dict[float, np.ndarray]) -> dict[float, np.ndarray]:
        """ITK's values at the voxels of each sigma ((n, 3) of z, y, x), with its order of axes and its rounding."""
        voxels = {sigma: [self._voxel(sigma, place) for place in places.tolist()] for sigma, places in wanted.items()}
        flat = [voxel for some in voxels.values() for voxel in some]
        for z in range(self.volume.shape[0]):
            if there := [voxel for voxel in flat if voxel.window[0].start <= z < voxel.window[0].stop]:
                plane = self.volume[(z, *self.near)].astype(np.float64)
                for voxel in there:
                    voxel.add(plane, z)
        for z in {voxel.z for voxel in flat}:
            planes = self._contract(z)[1::2].astype(np.float32).astype(np.float64)
            for sigma, some in voxels.items():
                for voxel in some:
                    if voxel.z == z:
                        voxel.add_along_z(planes[self.sigmas_mm.index(sigma)])
        return {sigma: np.array([v.value(self.spacing_mm) for v in some]) for sigma, some in voxels.items()}

    def _voxel(self, sigma: float, place: list[int]) -> _Voxel:
        window, smooth, second = [], [], []
        for axis, centre in enumerate(place):
            first, w = _edge_weights(self.kernels[sigma, axis, 0], centre, self.volume.shape[axis])
            smooth.append(w)
            second.append(_edge_weights(self.kernels[sigma, axis, 2], centre, self.volume.shape[axis])[1])
            first -= self.near[axis - 1].start if axis else 0
            window.append(slice(first, first + len(w)))
        return _Voxel(place[0], tuple(window), smooth, second)


@dataclass
class _Voxel:
    """ITK's value at one voxel: derivative first, then smoothing from x to z, each step rounded as ITK's images are.

    window: slices of z in the volume, of y and x in ``near``; smooth, second: weights in it along z, y and x.
    """

    z: int
    window: tuple[slice, ...]
    smooth: list[np.ndarray]
    second: list[np.ndarray]
    along_x: float = 0.0
    along_y: float = 0.0
    along_z: float = 0.0

    def add(self, plane: np.ndarray, z: int) -> None:
        """Second derivatives in x and in y, as far as slice z has a part in them."""
        part = plane[self.window[1:]]
        weight = self.smooth[0][z - self.window[0].start]
        self.along_x += weight * _single(_single(part @ self.second[2]) @ self.smooth[1])
        self.along_y += weight * _single(_single(self.second[1] @ part) @ self.smooth[2])

    def add_along_z(self, plane: np.ndarray) -> None:
        """plane: (y, x) second derivative in z at this voxel's slice."""
        self.along_z = _single(plane[self.window[1:]] @ self.smooth[2]) @ self.smooth[1]

    def value(self, spacing_mm: tuple[float, ...]) -> np.float32:
        dz, dy, dx = (1.0 / (s * s) for s in spacing_mm)
        value = _single(_single(self.along_x) * dx)
        value = _single(value + _single(self.along_y) * dy)
        return np.float32(value + _single(self.along_z) * dz)


def _single(values: np.ndarray | float) -> np.ndarray | float:
    """Rounded to single precision, in double."""
    return np.float64(np.float32(values)) if np.ndim(values) == 0 else values.astype(np.float32).astype(np.float64)


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


def _band(plane: np.ndarray, response: np.ndarray, part: slice) -> np.ndarray:
    """Filter (n, m) along its first axis with edge values repeated, only for the outputs in ``part``."""
    half, last = len(response) // 2, len(plane) - 1
    toeplitz = np.zeros((_BAND, _BAND + 2 * half))
    for i in range(_BAND):
        toeplitz[i, i : i + len(response)] = response  # symmetric
    out = np.empty((part.stop - part.start, plane.shape[1]))
    for start in range(part.start, part.stop, _BAND):
        stop = min(start + _BAND, part.stop)
        first, end = start - half, stop + half
        inside = first >= 0 and end <= last + 1
        seen = plane[first:end] if inside else plane[np.clip(np.arange(first, end), 0, last)]
        np.matmul(toeplitz[: stop - start, : end - first], seen, out=out[start - part.start : stop - part.start])
    return out
