"""PyRadiomics' wavelet sub-bands, computed only where a mask needs them.

They are those of ``pywt.swtn`` (level 1, periodic), summed in the same order: equal to the last bit.
"""

from __future__ import annotations

import numba
import numpy as np
import pywt


def wavelet_bands(volume: np.ndarray, box: tuple[slice, ...], wavelet: str) -> dict[str, np.ndarray]:
    """The 8 sub-bands of ``pywt.swtn`` (level 1) inside ``box``.

    volume: (z, y, x), any real type; box: one slice an axis. Returns {'LLH': (z, y, x) of the box,
    ...} in PyRadiomics' naming and order (first letter x, last letter z; LLL last).
    """
    bank = pywt.Wavelet(wavelet)
    ahead = bank.dec_len // 2
    before = bank.dec_len - 1 - ahead
    # An axis on which the filter reaches round the end is taken whole, for pywt adds in another order there.
    padded = [size + size % 2 for size in volume.shape]  # PyRadiomics pads odd axes by one wrapped voxel
    whole = [
        part.start < before or part.stop + ahead > size or bank.dec_len > size
        for part, size in zip(box, padded, strict=True)
    ]
    index = []
    for axis, part in enumerate(box):
        reach = np.arange(padded[axis]) if whole[axis] else np.arange(part.start - before, part.stop + ahead)
        index.append(np.where(reach == volume.shape[axis], 0, reach))
    block = np.ascontiguousarray(volume[np.ix_(*index)])
    level = {"": block if block.dtype == np.float32 else block.astype(np.float64)}
    for axis in (2, 1, 0):  # x first: the order of the additions, and so the last bit, is that of pywt
        part = box[axis] if whole[axis] else slice(before, before + box[axis].stop - box[axis].start)
        both = _by_pywt if whole[axis] or block.dtype == np.float32 else _by_taps
        level = {
            name + letter: band
            for name, data in level.items()
            for letter, band in zip("LH", both(data, bank, axis, part), strict=True)
        }
    level["LLL"] = level.pop("LLL")
    return level


def _by_pywt(data: np.ndarray, bank: pywt.Wavelet, axis: int, part: slice) -> list[np.ndarray]:
    """Both bands along one axis, only ``part`` of it; an odd length gets a voxel more, which reaches no ``part``."""
    if data.shape[axis] % 2:
        data = np.concatenate([data, data.take([-1], axis)], axis)
    inside = tuple(part if k == axis else slice(None) for k in range(3))
    return [np.ascontiguousarray(band[inside]) for band in pywt.swt(data, bank, level=1, axis=axis)[0]]


def _by_taps(data: np.ndarray, bank: pywt.Wavelet, axis: int, part: slice) -> list[np.ndarray]:
    """The same in double precision, for a block that holds just what ``part`` needs."""
    filter_axis = (_filter_z, _filter_y, _filter_x)[axis]
    return [filter_axis(data, np.array(taps)) for taps in (bank.dec_lo, bank.dec_hi)]


@numba.njit(cache=True)
def _filter_x(data: np.ndarray, taps: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    n, last = taps.size, taps.size - 1
    out = np.zeros((data.shape[0], data.shape[1], data.shape[2] - last), data.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for j in range(n):
                for x in range(out.shape[2]):
                    out[z, y, x] += taps[j] * data[z, y, x + last - j]
    return out


@numba.njit(cache=True)
def _filter_y(data: np.ndarray, taps: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    n, last = taps.size, taps.size - 1
    out = np.zeros((data.shape[0], data.shape[1] - last, data.shape[2]), data.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for j in range(n):
                for x in range(out.shape[2]):
                    out[z, y, x] += taps[j] * data[z, y + last - j, x]
    return out


@numba.njit(cache=True)
def _filter_z(data: np.ndarray, taps: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    n, last = taps.size, taps.size - 1
    out = np.zeros((data.shape[0] - last, data.shape[1], data.shape[2]), data.dtype)
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for j in range(n):
                for x in range(out.shape[2]):
                    out[z, y, x] += taps[j] * data[z + last - j, y, x]
    return out
