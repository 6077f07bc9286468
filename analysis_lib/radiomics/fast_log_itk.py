"""ITK's Laplacian of Gaussian of a box of an image, to the last bit.

ITK filters line by line with Deriche's recursion in double precision, and stores every intermediate image in single
precision. Here the order of every product and sum is the same, but a filter goes over those lines alone, and keeps
those places alone, that the next one looks at.

    Deriche 1993, INRIA report 1893; Farneback and Westin 2006, doi 10.1007/s10851-006-8464-z
"""

from __future__ import annotations

import math
from functools import lru_cache

import numba
import numpy as np
import SimpleITK as sitk

_FARTHEST = 27.0  # sigmas until the slower of Deriche's exponentials is below 1e-16: a double's last bit

# Deriche's fourth-order fit to the Gaussian and its second derivative as ITK has it: the response at distance
# n >= 0 is the sum over two terms of (a cos(w n / sigma) + b sin(w n / sigma)) exp(l n / sigma).
W, L = (0.6681, 2.0787), (-1.3932, -1.3732)
SMOOTH = ((1.3530, -0.3531), (1.8151, 0.0902))
SECOND = ((-1.3563, 0.3446), (5.2318, -2.2355))


@lru_cache(maxsize=256)
def recursion(sigma_mm: float, spacing_mm: float, order: int) -> np.ndarray:
    """Coefficients (5, 4) of ITK's recursive Gaussian, smoothing (order 0) or second derivative (2, normalised).

    Rows: what the input at and before a place adds, ahead; at the four places after it, back; what the four outputs
    before take away, in both directions; and the same where these lie beyond the start, ahead and back.
    """
    sigma = sigma_mm / spacing_mm
    (exp1, exp2), (cos1, cos2), (sin1, sin2) = (
        [f(v / sigma) for v in values] for f, values in ((math.exp, L), (math.cos, W), (math.sin, W))
    )
    taken = [-2 * (exp2 * cos2 + exp1 * cos1), 4 * cos2 * cos1 * exp1 * exp2, -2 * cos1 * exp1 * exp2 * exp2, 0.0]
    taken[1] += exp1 * exp1 + exp2 * exp2
    taken[2] += -2 * cos2 * exp2 * exp1 * exp1
    taken[3] = exp1 * exp1 * exp2 * exp2

    def added(fit: tuple[tuple[float, float], tuple[float, float]]) -> list[float]:
        (a1, a2), (b1, b2) = fit
        n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2)
        n1 += exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
        n2 = (a1 + a2) * cos2 * cos1
        n2 -= b1 * cos2 * sin1 + b2 * cos1 * sin2
        n2 *= 2 * exp1 * exp2
        n2 += a2 * exp1 * exp1 + a1 * exp2 * exp2
        n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2)
        n3 += exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
        return [a1 + a2, n1, n2, n3]

    def moments(n0: float, n1: float, n2: float, n3: float) -> tuple[float, float, float]:
        return n0 + n1 + n2 + n3, n1 + 2 * n2 + 3 * n3, n1 + 4 * n2 + 9 * n3

    d1, d2, d3, d4 = taken
    sum_d, first_d, second_d = 1.0 + d1 + d2 + d3 + d4, d1 + 2 * d2 + 3 * d3 + 4 * d4, d1 + 4 * d2 + 9 * d3 + 16 * d4
    ahead = added(SMOOTH)
    sum_n, first_n, second_n = moments(*ahead)
    if order == 0:  # a constant stays what it is
        scale = 1.0 / (2 * sum_n / sum_d - ahead[0])
    else:  # a constant gives zero, and x^2 / 2 gives sigma^2
        second = added(SECOND)
        found = moments(*second)
        beta = -(2 * found[0] - sum_d * second[0]) / (2 * sum_n - sum_d * ahead[0])
        ahead = [s + beta * n for s, n in zip(second, ahead, strict=True)]
        sum_n, first_n, second_n = (s + beta * n for s, n in zip(found, (sum_n, first_n, second_n), strict=True))
        alpha = second_n * sum_d * sum_d - second_d * sum_n * sum_d
        alpha = alpha - 2 * first_n * first_d * sum_d + 2 * first_d * first_d * sum_n
        scale = sigma_mm * sigma_mm / (alpha / (sum_d * sum_d * sum_d))
    ahead = [n * scale for n in ahead]
    back = [n - d * ahead[0] for n, d in zip(ahead[1:], taken[:3], strict=True)] + [-d4 * ahead[0]]
    edges = [[d * moments(*gain)[0] / sum_d for d in taken] for gain in (ahead, back)]
    return np.array([ahead, back, taken, *edges])


def laplacian(volume: np.ndarray, spacing_mm: tuple[float, ...], sigma_mm: float, box: tuple[slice, ...]) -> np.ndarray:
    """``SimpleITK.LaplacianRecursiveGaussian`` (normalised across scale) of a volume (z, y, x), float32 of ``box``.

    spacing_mm: along z, y, x. Every axis has four voxels or more, and no value is missing.
    """
    near, inner = [], []
    for part, size, mm in zip(box, volume.shape, spacing_mm, strict=True):
        margin = max(8, math.ceil(_FARTHEST * sigma_mm / mm))
        start, stop = max(0, part.start - margin), min(size, part.stop + margin)
        near.append(slice(start, stop))
        inner.append((part.start - start, part.stop - start))
    volume = volume[tuple(near)]
    z, y, x = inner
    smooth, second = ([recursion(sigma_mm, mm, order) for mm in spacing_mm] for order in (0, 2))

    # ITK's order: the derivative first, then the smoothing along x, y and z as far as they are left
    along_x, along_y = np.empty((2, len(volume), y[1] - y[0], x[1] - x[0]), np.float32)
    for k, plane in enumerate(volume):
        turned = _filtered(plane.T.astype(np.float64, order="C"), second[2], *x)
        along_x[k] = _filtered(turned.T.copy(), smooth[1], *y)
        rows = _filtered(plane.astype(np.float64), second[1], *y)
        along_y[k] = _filtered(rows.T.copy(), smooth[2], *x).T
    along_z = np.empty((z[1] - z[0], *volume.shape[1:]))
    for k in range(volume.shape[1]):
        along_z[:, k] = _filtered(volume[:, k].astype(np.float64), second[0], *z)
    out = np.empty((z[1] - z[0], *along_x.shape[1:]), np.float32)
    for k, plane in enumerate(along_z):
        turned = _filtered(plane.T.copy(), smooth[2], *x)
        out[k] = _filtered(turned.T.copy(), smooth[1], *y)

    dz, dy, dx = (1.0 / (mm * mm) for mm in spacing_mm)
    for k in range(out.shape[1]):
        row_x, row_y = (_filtered(v[:, k].astype(np.float64), smooth[0], *z) for v in (along_x, along_y))
        total = (row_x * dx).astype(np.float32)
        total = (total + row_y * dy).astype(np.float32)
        out[:, k] = total + out[:, k].astype(np.float64) * dz
    return out


@lru_cache(maxsize=1)
def is_as_itk() -> bool:
    """Whether the installed ITK, on this processor, rounds as this module does; seen on a small image."""
    volume = np.random.default_rng(0).integers(-1000, 1500, (9, 20, 30)).astype(np.int16)
    image, box = sitk.GetImageFromArray(volume), (slice(3, 5), slice(0, 11), slice(2, 30))
    image.SetSpacing((0.7, 0.8, 5.0))
    want = sitk.GetArrayFromImage(sitk.LaplacianRecursiveGaussian(image, 3.0, True))[box]
    return np.array_equal(laplacian(volume, (5.0, 0.8, 0.7), 3.0, box), want)


def _filtered(lines: np.ndarray, coefficients: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Lines (n, m) filtered along the first axis, at places start to stop, in double precision rounded to single."""
    ahead, back, taken, beyond_start, beyond_end = coefficients
    out = np.zeros((stop - start, lines.shape[1]))
    _pass(lines, 1, ahead, taken, beyond_start, out, start)
    _pass(lines, -1, back, taken, beyond_end, out, start)
    return out.astype(np.float32).astype(np.float64)


@numba.njit(cache=True)
def _pass(lines, direction, added, taken, beyond, out, start):  # pragma: no cover - compiled
    """Add one direction of the recursion; beyond both ends the edge value goes on for ever."""
    last = len(lines) - 1
    first, stop, shift = (
        (0, start + len(out), 0) if direction > 0 else (last, start - 1, 1)
    )  # back: of what comes after
    before, weights = np.empty((5, lines.shape[1])), beyond.copy()
    before[:] = lines[first]
    for i in range(first, stop, direction):
        j = abs(i - first)
        here, k = before[j % 5], i - shift * direction
        a, b, c, d = k, k - direction, k - 2 * direction, k - 3 * direction
        a, b, c, d = min(max(a, 0), last), min(max(b, 0), last), min(max(c, 0), last), min(max(d, 0), last)
        _set(here, added, lines[a], lines[b], lines[c], lines[d])
        _take(here, weights, before[(j - 1) % 5], before[(j - 2) % 5], before[(j - 3) % 5], before[(j - 4) % 5])
        if j < 4:
            weights[j] = taken[j]
        if start <= i < start + len(out):
            _add(out[i - start], here)


@numba.njit(cache=True)
def _set(out, weights, a, b, c, d):  # pragma: no cover - compiled
    w0, w1, w2, w3 = weights
    for i in range(out.size):
        out[i] = a[i] * w0 + b[i] * w1 + c[i] * w2 + d[i] * w3


@numba.njit(cache=True)
def _take(out, weights, a, b, c, d):  # pragma: no cover - compiled
    w0, w1, w2, w3 = weights
    for i in range(out.size):
        out[i] -= a[i] * w0 + b[i] * w1 + c[i] * w2 + d[i] * w3


@numba.njit(cache=True)
def _add(out, line):  # pragma: no cover - compiled
    for i in range(out.size):
        out[i] += line[i]
