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

from functools import lru_cache
from typing import Any

import numba
import numpy as np
import SimpleITK as sitk

_FAR = 18.5  # sigmas until the slower of Deriche's exponentials, exp(-1.3732 n / sigma), is below 1e-11
_FARTHEST = 27.0  # sigmas until it is below 1e-16
_FEW_SMALL = 4  # voxels for each of which ITK filters a block of its own
_CUT_OFF = 1e-11  # of the largest intensity: what is lost beyond
_EXACT = 2e-10  # of the largest intensity: root mean square error of ``exact``, in which few roundings differ
_ROUNDING = 2e-7  # of the largest intensity: ITK's error; 1e-7 is the largest met
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
        self.sigmas_mm = sorted({float(s) for s in sigmas_mm if self.finite and s >= _FINEST * max(self.spacing_mm)})
        self.kernels = {
            (sigma, axis, order): _response(sigma, self.spacing_mm[axis], order)
            for sigma in self.sigmas_mm
            for axis in range(3)
            for order in (0, 2)
        }
        self.largest = 0.0  # largest absolute value met, sets the rounding error that ITK can have made

    def as_itk(self, sigma_mm: float, values: np.ndarray | None, settings: dict[str, Any]) -> np.ndarray:
        """Single-precision values of the mask's voxels, from which every feature comes out as from ITK's.

        values: those of ``values``, (voxels,); None for a sigma that is not among them. Recomputed with ITK's
        rounding are voxels at the edge of a bin, and those that an order statistic may be. ITK filters the image itself
        where too many are, or where a feature is so small a rest that the rounding of any voxel shows.
        """
        if values is None:
            return self._by_itk(sigma_mm, self.box)[self.inside]
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
        kernels = [len(self.kernels[sigma_mm, axis, 0]) for axis in range(3)]
        one_voxel = 3 * np.prod(np.minimum(kernels, self.volume.shape))
        few = 300 * self.volume.size / one_voxel  # voxels that together cost what ITK does
        if len(values) <= few / 4:
            doubtful[:] = True
        if doubtful.sum() > few or small.sum() > _FEW_SMALL:
            return self._by_itk(sigma_mm, self.box)[self.inside]
        voxels = np.argwhere(self.inside)[doubtful] + [part.start for part in self.box]
        exact = self.exact(sigma_mm, voxels)
        for k in np.flatnonzero(small[doubtful]):
            exact[k] = self._by_itk(sigma_mm, tuple(slice(i, i + 1) for i in voxels[k]))[0, 0, 0]
        if doubtful.all():
            error = _EXACT * self.largest
        else:  # as found; the rounding of one step is smoothed by the next, so that voxels within sigma share it
            shared = np.prod([max(1.0, 2 * sigma_mm / mm) for mm in self.spacing_mm[1:]])
            error = np.sqrt(np.mean((exact - values[doubtful]) ** 2)) + 1e-10 * self.largest
            error *= min(1.0, np.sqrt(shared / len(values)))
        if not _steady(values, error):
            return self._by_itk(sigma_mm, self.box)[self.inside]
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
        """{sigma: (z, y, x) float64 of the box}, exact but for ITK's rounding (see ``exact``)."""
        part = self.box[0]
        out = {s: np.empty(tuple(b.stop - b.start for b in self.box)) for s in self.sigmas_mm}
        for z in range(part.start, part.stop):
            planes = self._contract(z)
            for i, sigma in enumerate(self.sigmas_mm):
                out[sigma][z - part.start] = self._in_plane(sigma, planes[2 * i], planes[2 * i + 1])
        return out

    def _contract(self, z: int) -> np.ndarray:
        """Weighted sums through the plane: (2 x sigmas, y, x), smoothed and second derivative by turns."""
        n = self.volume.shape[0]
        weights = np.zeros((2 * len(self.sigmas_mm), n))
        for i, sigma in enumerate(self.sigmas_mm):
            for k, order in enumerate((0, 2)):
                first, w = _edge_weights(self.kernels[sigma, 0, order], z, n)
                weights[2 * i + k, first : first + len(w)] = w
        planes, largest = _contract_planes(self.volume, weights)
        self.largest = max(self.largest, largest)
        return planes

    def _in_plane(self, sigma: float, smooth: np.ndarray, second: np.ndarray) -> np.ndarray:
        dz, dy, dx = (s * s for s in self.spacing_mm)
        y, x = self.box[1], self.box[2]
        k = {key[1:]: self.kernels[key] for key in self.kernels if key[0] == sigma}
        both = np.stack([smooth, second])
        smooth_y, second_y = _band(both, k[1, 0], y)
        rows = second_y / dz + _band(smooth[None], k[1, 2], y)[0] / dy
        rows = np.ascontiguousarray(rows.T)[None]
        columns = np.ascontiguousarray(smooth_y.T)[None]
        return (_band(rows, k[2, 0], x)[0] + _band(columns, k[2, 2], x)[0] / dx).T

    def exact(self, sigma: float, voxels: np.ndarray) -> np.ndarray:
        """ITK's values at ``voxels`` ((n, 3) of z, y, x), with its order of axes and its rounding."""
        out = np.empty(len(voxels))
        scale = [1.0 / (s * s) for s in self.spacing_mm]
        for i, (z, y, x) in enumerate(voxels):
            w = {}
            for axis, centre in enumerate((z, y, x)):
                for order in (0, 2):
                    kernel = self.kernels[sigma, axis, order]
                    w[axis, order] = _edge_weights(kernel, int(centre), self.volume.shape[axis])
            first = (w[0, 0][0], w[1, 0][0], w[2, 0][0])
            out[i] = _exact_voxel(
                self.volume,
                *first,
                w[0, 0][1],
                w[0, 2][1],
                w[1, 0][1],
                w[1, 2][1],
                w[2, 0][1],
                w[2, 2][1],
                *scale,
            )
        return out


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
    spread = np.sqrt(np.mean(deviation**2))
    third = np.mean(deviation**3)
    error *= 3  # of an error that is normal
    return error < 2.5e-7 * spread and error < 1e-5 * abs(mean) and 3 * error * spread**2 < 1e-5 * abs(third)


def _band(planes: np.ndarray, response: np.ndarray, part: slice) -> np.ndarray:
    """Filter (k, n, m) along axis 1 with edge values repeated, only for the outputs in ``part``."""
    half = len(response) // 2
    n = planes.shape[1]
    index = np.clip(np.arange(part.start - half, part.stop + half), 0, n - 1)
    block = 64
    width = part.stop - part.start
    toeplitz = np.zeros((block, block + 2 * half))
    for i in range(block):
        toeplitz[i, i : i + 2 * half + 1] = response[::-1]
    out = np.empty((planes.shape[0], width, planes.shape[2]))
    for k in range(planes.shape[0]):
        padded = planes[k][index]
        for start in range(0, width, block):
            stop = min(start + block, width)
            m = stop - start
            np.matmul(toeplitz[:m, : m + 2 * half], padded[start : stop + 2 * half], out=out[k, start:stop])
    return out


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _contract_planes(volume, weights):  # pragma: no cover - compiled
    n, ny, nx = volume.shape
    k = weights.shape[0]
    out = np.zeros((k, ny, nx))
    line = np.empty(nx)
    largest = 0.0
    for y in range(ny):
        for z in range(n):
            for x in range(nx):
                line[x] = volume[z, y, x]
            for x in range(nx):
                largest = max(largest, abs(line[x]))
            for i in range(k):
                w = weights[i, z]
                if w != 0.0:
                    for x in range(nx):
                        out[i, y, x] += w * line[x]
    return out, largest


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(line, weights):  # pragma: no cover - compiled
    total = 0.0
    for i in range(weights.size):
        total += weights[i] * line[i]
    return total


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _exact_voxel(volume, z0, y0, x0, z_s, z_d, y_s, y_d, x_s, x_d, by_z, by_y, by_x):  # pragma: no cover
    """Derivative first, then smoothing from x to z, each step rounded as ITK's images are."""
    single = np.float32
    along_x = single(0)  # second derivative in x, smoothed in y, then z
    along_y = single(0)  # second derivative in y, smoothed in x, then z
    sum_x = 0.0
    sum_y = 0.0
    columns = np.empty(x_s.size)
    for z in range(z_s.size):
        smooth = 0.0
        columns[:] = 0.0
        for y in range(y_s.size):
            line = volume[z0 + z, y0 + y, x0 : x0 + x_s.size]
            smooth += y_s[y] * np.float64(single(_dot(line, x_d)))
            w = y_d[y]
            for x in range(x_s.size):
                columns[x] += w * line[x]
        sum_x += z_s[z] * np.float64(single(smooth))
        smooth = 0.0
        for x in range(x_s.size):
            smooth += x_s[x] * np.float64(single(columns[x]))
        sum_y += z_s[z] * np.float64(single(smooth))
    along_x = single(sum_x)
    along_y = single(sum_y)
    total = 0.0
    for y in range(y_s.size):  # second derivative in z, smoothed in x, then y
        columns[:] = 0.0
        for z in range(z_d.size):
            w = z_d[z]
            for x in range(x_s.size):
                columns[x] += w * volume[z0 + z, y0 + y, x0 + x]
        smooth = 0.0
        for x in range(x_s.size):
            smooth += x_s[x] * np.float64(single(columns[x]))
        total += y_s[y] * np.float64(single(smooth))
    along_z = single(total)
    result = single(np.float64(along_x) * by_x)
    result = single(np.float64(result) + np.float64(along_y) * by_y)
    return single(np.float64(result) + np.float64(along_z) * by_z)
