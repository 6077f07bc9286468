"""PyRadiomics' wavelet sub-bands, computed only where a mask needs them.

They are those of ``pywt.swtn`` (level 1, periodic), summed in the same order: equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import pywt

_ROWS = 64  # filtered at once: what lies between the filters then stays in the cache, in memory already mapped


def wavelet_bands(
    volume: np.ndarray, box: tuple[slice, ...], wavelet: str, axes: Sequence[int] = (2, 1, 0)
) -> dict[str, np.ndarray]:
    """The 8 sub-bands of ``pywt.swtn`` (level 1) inside ``box``, or 4 along two ``axes``.

    volume: (z, y, x), any real type; box: one slice an axis. Returns {'LLH': (z, y, x) of the box,
    ...} in PyRadiomics' naming and order (first letter x, last letter z; LLL last).
    """
    bank = pywt.Wavelet(wavelet)
    rows = box[1]
    step = rows.stop - rows.start if 1 in axes and _reaches_round(volume.shape, box, bank)[1] else _ROWS
    parts = [
        _bands(volume, (box[0], slice(start, min(start + step, rows.stop)), box[2]), bank, axes)
        for start in range(rows.start, rows.stop, step)
    ]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def _reaches_round(shape: tuple[int, ...], box: tuple[slice, ...], bank: pywt.Wavelet) -> list[bool]:
    """Axes on which the filter reaches round the end; PyRadiomics pads odd axes by one wrapped voxel."""
    ahead = bank.dec_len // 2
    before = bank.dec_len - 1 - ahead
    padded = [size + size % 2 for size in shape]
    return [
        part.start < before or part.stop + ahead > size or bank.dec_len > size
        for part, size in zip(box, padded, strict=True)
    ]


def _bands(
    volume: np.ndarray, box: tuple[slice, ...], bank: pywt.Wavelet, axes: Sequence[int]
) -> dict[str, np.ndarray]:
    ahead = bank.dec_len // 2
    before = bank.dec_len - 1 - ahead
    # An axis on which the filter reaches round the end is taken whole, for pywt adds in another order there.
    whole = _reaches_round(volume.shape, box, bank)
    reach = list(box)
    for axis in axes:
        size, part = volume.shape[axis], box[axis]
        reach[axis] = slice(0, size + size % 2) if whole[axis] else slice(part.start - before, part.stop + ahead)
    if any(part.stop > size for part, size in zip(reach, volume.shape, strict=True)):
        index = [np.arange(part.start, part.stop) for part in reach]
        block = volume[np.ix_(*(np.where(i == size, 0, i) for i, size in zip(index, volume.shape, strict=True)))]
    else:
        block = volume[tuple(reach)]
    level = {"": np.ascontiguousarray(block, dtype=np.float32 if block.dtype == np.float32 else np.float64)}
    for axis in axes:  # x first: the order of the additions, and so the last bit, is that of pywt
        part = box[axis] if whole[axis] else slice(before, before + box[axis].stop - box[axis].start)
        both = _by_pywt if whole[axis] or block.dtype == np.float32 else _by_taps
        level = {
            name + letter: band
            for name, data in level.items()
            for letter, band in zip("LH", both(data, bank, axis, part), strict=True)
        }
    low = "L" * len(axes)
    level[low] = level.pop(low)
    return level


def _by_pywt(data: np.ndarray, bank: pywt.Wavelet, axis: int, part: slice) -> list[np.ndarray]:
    """Both bands along one axis, only ``part`` of it; an odd length gets a voxel more, which reaches no ``part``."""
    if data.shape[axis] % 2:
        data = np.concatenate([data, data.take([-1], axis)], axis)
    inside = tuple(part if k == axis else slice(None) for k in range(3))
    return [np.ascontiguousarray(band[inside]) for band in pywt.swt(data, bank, level=1, axis=axis)[0]]


def _by_taps(data: np.ndarray, bank: pywt.Wavelet, axis: int, part: slice) -> list[np.ndarray]:
    """The same in double precision, for a block that holds just what ``part`` needs."""
    low, high = np.array(bank.dec_lo), np.array(bank.dec_hi)
    if axis == 2:
        return list(_filter_rows(data, low, high))
    z, y, x = data.shape
    both = _filter_lines(data.reshape((1, z, y, x) if axis == 0 else (z, y, 1, x)), low, high)
    return [band.reshape((-1, y, x) if axis == 0 else (z, -1, x)) for band in both]


@numba.njit(cache=True)
def _add_two(out, some, others, tap, next_tap):  # pragma: no cover - compiled
    """Two taps at a time spare half of the memory traffic; each sum is in the order of the taps."""
    for x in range(out.size):
        out[x] = out[x] + tap * some[x] + next_tap * others[x]


@numba.njit(cache=True)
def _filter_rows(data, low_taps, high_taps):  # pragma: no cover - compiled
    """Low and high band of (z, y, x) along x. pywt's filters have an even number of taps."""
    last = low_taps.size - 1
    low = np.zeros((data.shape[0], data.shape[1], data.shape[2] - last))
    high = np.zeros_like(low)
    n = low.shape[2]
    for z in range(low.shape[0]):
        for y in range(low.shape[1]):
            line = data[z, y]
            for j in range(0, last, 2):
                a, b = line[last - j : last - j + n], line[last - j - 1 : last - j - 1 + n]
                _add_two(low[z, y], a, b, low_taps[j], low_taps[j + 1])
                _add_two(high[z, y], a, b, high_taps[j], high_taps[j + 1])
    return low, high


@numba.njit(cache=True)
def _filter_lines(data, low_taps, high_taps):  # pragma: no cover - compiled
    """Low and high band of (i, n, k, x) along n."""
    last = low_taps.size - 1
    low = np.zeros((data.shape[0], data.shape[1] - last, data.shape[2], data.shape[3]))
    high = np.zeros_like(low)
    for i in range(low.shape[0]):
        for m in range(low.shape[1]):
            for k in range(low.shape[2]):
                for j in range(0, last, 2):
                    a, b = data[i, m + last - j, k], data[i, m + last - j - 1, k]
                    _add_two(low[i, m, k], a, b, low_taps[j], low_taps[j + 1])
                    _add_two(high[i, m, k], a, b, high_taps[j], high_taps[j + 1])
    return low, high
