"""PyRadiomics' Laplacian of Gaussian images, evaluated only where a mask needs them.

PyRadiomics filters the whole image and then looks at the mask. The filter is separable and linear, so the values
on a few slices follow from one weighted sum through the plane and filters in the plane of those slices alone.
Nothing is cropped: weights down to 1e-11 of the largest take part, a thousandth of what ITK's rounding loses.

It is ITK's recursive filter. Its impulse response is known in closed form, which serves through the plane, where few
slices are wanted; in the plane the recursion itself is faster. Outside the image the edge value goes on. What ITK's
single precision adds to it is the matter of ``fast_log_rounding``.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import SimpleITK as sitk

from analysis_lib.radiomics.fast_log_itk import SECOND, SMOOTH, L, W

_FAR = 18.5  # sigmas until the slower of Deriche's exponentials, exp(-1.3732 n / sigma), is below 1e-11
_FINEST = 0.1  # sigma / spacing, below which the closed form loses its digits (the derivative is a rest of 1e-6)


@lru_cache(maxsize=256)
def _response(sigma_mm: float, spacing_mm: float, order: int) -> np.ndarray:
    """Impulse response of ITK's recursive Gaussian (scale-normalised), odd length, centre in the middle.

    Deriche 1993, INRIA report 1893, and Farneback and Westin 2006, doi 10.1007/s10851-006-8464-z.
    """
    n = np.arange(int(np.ceil(2 * _FAR * sigma_mm / spacing_mm)) + 4) * (spacing_mm / sigma_mm)
    gauss = _fit(n, SMOOTH)
    if order == 0:
        half = gauss / (2 * gauss.sum() - gauss[0])  # a constant stays what it is
    else:
        half = _fit(n, SECOND)
        half -= gauss * ((2 * half.sum() - half[0]) / (2 * gauss.sum() - gauss[0]))  # a constant gives zero
        half *= sigma_mm**2 / np.sum(half * np.arange(len(n)) ** 2)  # x^2 / 2 gives sigma^2
    half = half[: max(4, int(np.ceil(_FAR * sigma_mm / spacing_mm))) + 1]
    return np.concatenate([half[:0:-1], half])


@lru_cache(maxsize=256)
def _gains(sigma_mm: float, spacing_mm: float, order: int) -> np.ndarray:
    """The response as ITK computes it, by recursion: gains ahead and back, (2, 5), see ``_recursion``."""
    half = len(response := _response(sigma_mm, spacing_mm, order)) // 2
    poles = np.append(1.0, _poles(sigma_mm, spacing_mm))
    ahead = np.convolve(response[half : half + 4], poles)[:4]
    back = np.convolve(response[half + 1 : half + 5], poles)[:4]
    return np.array([np.append(ahead, 0.0), np.append(0.0, back)])


@lru_cache(maxsize=256)
def _poles(sigma_mm: float, spacing_mm: float) -> np.ndarray:
    """Coefficients of the four outputs before, the same for each order of derivative."""
    pair = np.exp((np.array(L) + 1j * np.array(W)) * (spacing_mm / sigma_mm))
    return np.poly([*pair, *pair.conj()]).real[1:]


def _fit(n: np.ndarray, terms: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    parts = (
        (a * np.cos(w * n) + b * np.sin(w * n)) * np.exp(decay * n) for a, b, w, decay in zip(*terms, W, L, strict=True)
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
        # the slice that ``contract`` saw last, and its answer
        self._contracted: tuple[int, dict[float, np.ndarray]] | None = None

    def _near(self, sigma: float) -> tuple[slice, ...]:
        far = [len(self.kernels[sigma, axis, 0]) // 2 for axis in (1, 2)]
        return tuple(
            slice(max(0, int(part.start) - reach), min(size, int(part.stop) + reach))
            for part, reach, size in zip(self.box[1:], far, self.volume.shape[1:], strict=True)
        )

    def values(self) -> dict[float, np.ndarray]:
        """{sigma: float64 values of the mask's voxels}, exact but for ITK's rounding."""
        out: dict[float, list[np.ndarray]] = {sigma: [] for sigma in self.sigmas_mm}
        for z, inside in enumerate(self.inside, start=self.box[0].start):
            for sigma in self.sigmas_mm:
                out[sigma].append(self._in_plane(sigma, self.contract(z)[sigma])[inside])
        return {sigma: np.concatenate(slices) for sigma, slices in out.items()}

    def contract(self, z: int) -> dict[float, np.ndarray]:
        """{sigma: weighted sums through the plane at slice z, (2, y, x) of ``near``: smoothed, second derivative}."""
        if self._contracted is None or self._contracted[0] != z:
            weights = {s: np.array([self.through(s, order, z) for order in (0, 2)]) for s in self.sigmas_mm}
            self._contracted = z, {sigma: self.summed(sigma, w) for sigma, w in weights.items()}
        return self._contracted[1]

    def summed(self, sigma: float, weights: np.ndarray) -> np.ndarray:
        """Sums over the slices with weights (n, z): (n, y, x) of ``near``, in double precision."""
        y, x = self.near[sigma]
        out = np.zeros((len(weights), y.stop - y.start, x.stop - x.start))
        _weighted_sums(self.volume, weights, y.start, x.start, out)
        return out

    def forget(self) -> None:
        """Free what ``contract`` keeps."""
        self._contracted = None

    def through(self, sigma: float, order: int, z: int) -> np.ndarray:
        """Weights of all slices in the filtered value at slice z."""
        weights = np.zeros(len(self.volume))
        first, w = edge_weights(self.kernels[sigma, 0, order], z, len(weights))
        weights[first : first + len(w)] = w
        return weights

    def along(self, planes: np.ndarray, sigma: float, axis: int, orders: list[int], factors: list[float]) -> np.ndarray:
        """Sum of planes (k, rows, columns) of ``near[sigma]``, filtered along y (axis 1) or x (2), on the box's lines.

        orders, factors: derivative and weight of each plane.
        """
        start, mm = self.near[sigma][axis - 1].start, self.spacing_mm[axis]
        part = slice(self.box[axis].start - start, self.box[axis].stop - start)
        gains = np.stack([f * _gains(sigma, mm, order) for f, order in zip(factors, orders, strict=True)], axis=1)
        if axis == 1:
            return _recursion(planes, gains, _poles(sigma, mm), part)
        return _recursion(planes.transpose(0, 2, 1), gains, _poles(sigma, mm), part).T

    def _in_plane(self, sigma: float, both: np.ndarray) -> np.ndarray:
        """both: smoothed and second derivative through the plane, (2, y, x) of ``near``."""
        dz, dy, dx = (1.0 / (mm * mm) for mm in self.spacing_mm)
        rows = self.along(both, sigma, 1, [2, 0], [dy, dz])
        smooth = self.along(both[:1], sigma, 1, [0], [1.0])
        return self.along(np.stack([rows, smooth]), sigma, 2, [0, 2], [1.0, dx])


@numba.njit(cache=True)
def _weighted_sums(volume, weights, first_y, first_x, out):  # pragma: no cover - compiled
    for y in range(out.shape[1]):
        for z in range(volume.shape[0]):
            line = volume[z, first_y + y][first_x : first_x + out.shape[2]]
            for n in range(out.shape[0]):
                if weights[n, z] != 0:
                    _add(out[n, y], weights[n, z], line)


@numba.njit(cache=True)
def _add(out, weight, line):  # pragma: no cover - compiled
    for x in range(out.size):
        out[x] += weight * line[x]


def _recursion(planes: np.ndarray, gains: np.ndarray, poles: np.ndarray, part: slice) -> np.ndarray:
    """Sum of the filtered planes (k, n, m) along n, for the outputs in ``part`` alone.

    gains (2, k, 5): ahead and back, of the line itself and of the four before it. The edge values go on for ever.
    """
    out = np.zeros((part.stop - part.start, planes.shape[2]))
    planes = np.ascontiguousarray(planes)  # strides that the compiler does not know cost it the wide registers
    for direction, gain in zip((1, -1), gains, strict=True):
        _sweep(planes[0], planes[-1], gain[0], gain[1:].sum(axis=0), poles, out, part.start, direction)
    return out


@numba.njit(cache=True)
def _sweep(one, other, g, h, poles, out, start, direction):  # pragma: no cover - compiled
    """Add one direction of the recursion: Deriche's four poles, in the transposed direct form."""
    state, line = np.zeros((5, one.shape[1])), np.zeros(one.shape[1])
    first, last = (0, start + len(out)) if direction > 0 else (len(one) - 1, start - 1)
    held_g, held_h, whole = 0.0, 0.0, 1 + poles.sum()
    for k in range(3, -1, -1):  # as if the edge value had always been there
        held_g += g[k + 1] - poles[k] * (g.sum() / whole)
        held_h += h[k + 1] - poles[k] * (h.sum() / whole)
        _next(state[k], state[4], 0.0, line, held_g, one[first], held_h, other[first])
    for i in range(first, last, direction):
        x, y = one[i], other[i]
        _first(line, state[0], g[0], x, h[0], y)
        for k in range(4):
            _next(state[k], state[k + 1], poles[k], line, g[k + 1], x, h[k + 1], y)
        if start <= i < start + len(out):
            out[i - start] += line


@numba.njit(cache=True)
def _first(out, state, g, x, h, y):  # pragma: no cover - compiled
    for i in range(out.size):
        out[i] = state[i] + (g * x[i] + h * y[i])


@numba.njit(cache=True)
def _next(out, later, pole, line, g, x, h, y):  # pragma: no cover - compiled
    for i in range(out.size):
        out[i] = (later[i] - pole * line[i]) + (g * x[i] + h * y[i])
