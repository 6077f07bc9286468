"""PyRadiomics' Laplacian of Gaussian images, evaluated only where a mask needs them.

PyRadiomics filters the whole image and then looks at the mask. The filter is separable and linear, so the values
on a few slices follow from one weighted sum through the plane and filters in the plane of those slices alone.
Nothing is cropped: weights down to 1e-11 of the largest take part, a thousandth of what ITK's rounding loses.

It is ITK's recursive filter. Its impulse response is known in closed form, and outside the image it repeats the
edge value. What ITK's single precision adds to it is the matter of ``fast_log_rounding``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import SimpleITK as sitk

_FAR = 18.5  # sigmas until the slower of Deriche's exponentials, exp(-1.3732 n / sigma), is below 1e-11
_BAND = 24  # lines that are filtered at once
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
    parts = (
        (a * np.cos(w * n) + b * np.sin(w * n)) * np.exp(decay * n)
        for a, b, w, decay in zip(*terms, _W, _L, strict=True)
    )
    return sum(parts, start=np.zeros(len(n)))


def edge_weights(response: np.ndarray, centre: int, size: int) -> tuple[int, np.ndarray]:
    """Weights of the voxels first .. first + len - 1 of a line in its filtered value at ``centre``.

    ITK starts both its recursions as if the edge value went on for ever: the tails fall on the edge voxels.
    """
    half = len(response) // 2  # a response is symmetric
    first, last = max(0, centre - half), min(size - 1, centre + half)
    weights = response[first - centre + half : last - centre + half + 1].copy()
    if centre - half < 0:
        weights[0] += response[: half - centre].sum()
    if centre + half > size - 1:
        weights[-1] += response[size - centre + half :].sum()
    return first, weights


class LaplacianOfGaussian:
    """``SimpleITK.LaplacianRecursiveGaussian`` (normalised across scale) of one image, on the voxels of a mask.

    image: 3-D, of an integer type or float32; sigmas_mm: as PyRadiomics is given them; box: slices (z, y, x) that
    hold the mask; inside: (z, y, x) bool of the box. ``sigmas_mm`` are those for which the closed form holds.
    """

    def __init__(self, image: sitk.Image, sigmas_mm: list[float], box: tuple[slice, ...], inside: np.ndarray):
        self.image, self.box, self.inside = image, box, inside
        self.volume, self.spacing_mm = sitk.GetArrayViewFromImage(image), image.GetSpacing()[::-1]
        self.finite = self.volume.dtype.kind != "f" or np.isfinite(self.volume).all()  # ITK spreads a NaN far
        self.asked_mm = [float(sigma) for sigma in dict.fromkeys(sigmas_mm)]
        self.sigmas_mm = sorted(s for s in self.asked_mm if self.finite and s >= _FINEST * max(self.spacing_mm))
        self.kernels = {
            (sigma, axis, order): _response(sigma, self.spacing_mm[axis], order)
            for sigma in self.sigmas_mm
            for axis in range(3)
            for order in (0, 2)
        }
        # what a filter in the plane can see from the box, (rows, columns), of each sigma
        self.near = {sigma: self._near(sigma) for sigma in self.sigmas_mm}
        self.widest = self.near[self.sigmas_mm[-1]] if self.sigmas_mm else ()
        self._contracted: tuple[int, np.ndarray] | None = None  # the slice that ``contract`` saw last, its answer

    def _near(self, sigma: float) -> tuple[slice, ...]:
        far = [len(self.kernels[sigma, axis, 0]) // 2 for axis in (1, 2)]
        return tuple(
            slice(max(0, part.start - reach), min(size, part.stop + reach))
            for part, reach, size in zip(self.box[1:], far, self.volume.shape[1:], strict=True)
        )

    def values(self) -> dict[float, np.ndarray]:
        """{sigma: float64 values of the mask's voxels}, exact but for ITK's rounding."""
        out: dict[float, list[np.ndarray]] = {sigma: [] for sigma in self.sigmas_mm}
        for z, inside in enumerate(self.inside, start=self.box[0].start):
            for i, sigma in enumerate(self.sigmas_mm):
                smooth, second = self.contract(z)[2 * i : 2 * i + 2]
                out[sigma].append(self._in_plane(sigma, smooth, second, inside)[inside])
        return {sigma: np.concatenate(slices) for sigma, slices in out.items()}

    def contract(self, z: int) -> np.ndarray:
        """Weighted sums through the plane at slice z: (2 x sigmas, y, x) of ``widest``.

        Smoothed and second derivative by turns.
        """
        if self._contracted is None or self._contracted[0] != z:
            weights = np.array([self.through(s, order, z) for s in self.sigmas_mm for order in (0, 2)])
            self._contracted = z, weighted_sums(self.volume[(slice(None), *self.widest)], weights)
        return self._contracted[1]

    def forget(self) -> None:
        """Free what ``contract`` keeps."""
        self._contracted = None

    def through(self, sigma: float, order: int, z: int) -> np.ndarray:
        """Weights of all slices in the filtered value at slice z."""
        weights = np.zeros(len(self.volume))
        first, w = edge_weights(self.kernels[sigma, 0, order], z, len(weights))
        weights[first : first + len(w)] = w
        return weights

    def along(
        self, plane: np.ndarray, sigma: float, axis: int, order: int, needed: np.ndarray | None = None
    ) -> np.ndarray:
        """Filter a plane of ``near[sigma]`` along y (axis 1) or x (axis 2), for the outputs in the box alone.

        Outputs that are not ``needed`` (bool, of the outputs' shape) may be anything.
        """
        start = self.near[sigma][axis - 1].start
        part = slice(self.box[axis].start - start, self.box[axis].stop - start)
        kernel = self.kernels[sigma, axis, order]
        if axis == 1:
            return _band(plane, kernel, part, needed)
        return _band(plane.T, kernel, part, None if needed is None else needed.T).T

    def _in_plane(self, sigma: float, smooth: np.ndarray, second: np.ndarray, inside: np.ndarray) -> np.ndarray:
        dz, dy, dx = (s * s for s in self.spacing_mm)
        smooth, second = smooth[within(self.near[sigma], self.widest)], second[within(self.near[sigma], self.widest)]
        rows = self.along(second, sigma, 1, 0) / dz + self.along(smooth, sigma, 1, 2) / dy
        across = self.along(self.along(smooth, sigma, 1, 0), sigma, 2, 2, inside)
        return self.along(rows, sigma, 2, 0, inside) + across / dx


def within(part: tuple[slice, ...], whole: tuple[slice, ...]) -> tuple[slice, ...]:
    """The slices ``part`` of an image as slices of its piece ``whole``."""
    return tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))


def weighted_sums(volume: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums over the slices of (z, y, x): (n, y, x) for weights (n, z), in double precision."""
    out = np.empty((len(weights), *volume.shape[1:]))
    rows = max(1, _AT_ONCE // volume[:, 0].size)
    for start in range(0, volume.shape[1], rows):
        block = volume[:, start : start + rows].astype(np.float64)
        out[:, start : start + rows] = np.tensordot(weights, block, 1)
    return out


def _band(plane: np.ndarray, response: np.ndarray, part: slice, needed: np.ndarray | None = None) -> np.ndarray:
    """Filter (n, m) along its first axis with edge values repeated, only for the outputs in ``part``.

    ``needed`` (outputs, m): columns that a band of lines does not need are left out of its product.
    """
    half, last = len(response) // 2, len(plane) - 1
    toeplitz = np.zeros((_BAND, _BAND + 2 * half))
    for i in range(_BAND):
        toeplitz[i, i : i + len(response)] = response  # symmetric
    out = np.zeros((plane.shape[1], part.stop - part.start)).T
    for start in range(part.start, part.stop, _BAND):
        stop = min(start + _BAND, part.stop)
        first, end = start - half, stop + half
        weights, lines = toeplitz[: stop - start, : end - first], slice(start - part.start, stop - part.start)
        seen = slice(first, end) if first >= 0 and end <= last + 1 else np.clip(np.arange(first, end), 0, last)
        if needed is None:
            np.matmul(weights, plane[seen], out=out[lines])
        else:
            columns = np.flatnonzero(needed[lines].any(axis=0))
            picked = plane.T[columns, seen] if isinstance(seen, slice) else plane.T[np.ix_(columns, seen)]
            out.T[columns, lines] = picked @ weights.T
    return out
