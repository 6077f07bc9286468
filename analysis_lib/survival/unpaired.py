"""The C-index of two groups of patients who share nobody, as of women and men, and whether it differs."""

from __future__ import annotations

from numpy.typing import ArrayLike

from analysis_lib.survival.resampling import bootstrap_p, c_index_replicates, percentile_interval
from analysis_lib.survival.survival import c_index

Group = tuple[ArrayLike, ArrayLike, ArrayLike]


def c_index_gap(ours: Group, others: Group, replicates: int, confidence: float, seed: int) -> dict[str, float]:
    """C-index of ``ours`` less that of ``others``, each (time, event, risk): difference, low, high, p.

    Each group is resampled by itself, with random numbers of its own, so both keep their size. Percentile interval, and
    ``resampling.bootstrap_p``.
    """
    estimate = c_index(*ours) - c_index(*others)
    drawn = [c_index_replicates(*group, replicates, seed + k)[:, 0] for k, group in enumerate((ours, others))]
    gap = drawn[0] - drawn[1]
    low, high = percentile_interval(gap, confidence)
    return {"difference": estimate, "low": float(low), "high": float(high), "p": bootstrap_p(gap)}
