"""Compiled loops of the resampling engine; ``resampling`` prepares their input and explains the method.

Rows are patients in descending time, the censored before the dead of one time; ``bounds`` gives first row,
first dead row and end of each distinct time. ``LANES`` replicates are worked on side by side: wherever a
short loop runs over the lanes, the compiler turns it into vector instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TIED_TOLERANCE = 1e-8  # risks closer than this are tied, as in scikit-survival
LANES = 16  # one cache line of 32-bit counts


@njit(cache=True, nogil=True)
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _draw(seed, replicate, row_of_patient, counts):
    """Draw n of n patients with replacement; ``counts`` is in row order.

    Two draws from each 64-bit number by multiplying 32 bits with n; no patient's probability is off by more
    than a relative n / 2^32.
    """
    n = len(row_of_patient)
    counts[:] = 0
    gamma = np.uint64(0x9E3779B97F4A7C15)
    state = _mix(_mix(seed + gamma) + np.uint64(replicate) * gamma)
    size = np.uint64(n)
    half = np.uint64(32)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(n // 2):
        state += gamma
        z = _mix(state)
        counts[row_of_patient[((z & low) * size) >> half]] += np.uint16(1)
        counts[row_of_patient[((z >> half) * size) >> half]] += np.uint16(1)
    if n % 2:
        state += gamma
        counts[row_of_patient[((_mix(state) >> half) * size) >> half]] += np.uint16(1)


@njit(cache=True, nogil=True)
def draw_table(n, replicates, seed):
    """How often each replicate draws each patient, (replicates, n)."""
    table = np.empty((replicates, n), dtype=np.uint16)
    rows = np.arange(n)
    for replicate in range(replicates):
        _draw(seed, replicate, rows, table[replicate])
    return table


@njit(cache=True, nogil=True)
def _fill_lanes(first, replicates, seed, row_of_patient, table, drawn, weights):
    """Counts of the next LANES replicates, transposed to (row, lane); spare lanes are zero."""
    n = len(row_of_patient)
    for lane in range(LANES):
        replicate = first + lane
        if replicate >= replicates:
            drawn[lane, :] = 0
        elif len(table):
            for patient in range(n):
                drawn[lane, row_of_patient[patient]] = table[replicate, patient]
        else:
            _draw(seed, replicate, row_of_patient, drawn[lane])
    for row in range(n):
        for lane in range(LANES):
            weights[row, lane] = drawn[lane, row]


@njit(cache=True, nogil=True)
def tie_range(values, below, upto):
    """For each sorted distinct value (from 1): how many lie below its ties, and up to and including them."""
    start, stop = 0, 0
    for k in range(len(values)):
        while values[k] - values[start] > TIED_TOLERANCE:
            start += 1
        stop = max(stop, k + 1)
        while stop < len(values) and values[stop] - values[k] <= TIED_TOLERANCE:
            stop += 1
        below[k + 1], upto[k + 1] = start, stop


@njit(cache=True, nogil=True)
def _uncensored_lanes(bounds, weights, curve):
    """Kaplan-Meier of the censoring in each lane, just before each distinct time (descending); deaths come first."""
    at_risk = np.zeros(LANES)
    current = np.ones(LANES)
    for row in range(len(weights)):
        for lane in range(LANES):
            at_risk[lane] += weights[row, lane]
    for g in range(len(bounds) - 1, -1, -1):
        for lane in range(LANES):
            censored, dead = 0.0, 0.0
            for row in range(bounds[g, 0], bounds[g, 1]):
                censored += weights[row, lane]
            for row in range(bounds[g, 1], bounds[g, 2]):
                dead += weights[row, lane]
            curve[g, lane] = current[lane]
            if censored > 0:
                current[lane] *= 1.0 - censored / (at_risk[lane] - dead)
            at_risk[lane] -= censored + dead


@njit(cache=True, nogil=True)
def _add(tree, single, rank, size, weight, total):
    for lane in range(LANES):
        total[lane] += weight[lane]
        single[rank, lane] += weight[lane]
    k = rank
    while k <= size:
        for lane in range(LANES):
            tree[k, lane] += weight[lane]
        k += k & -k


@njit(cache=True, nogil=True)
def _prefix(tree, k, found):
    while k > 0:
        for lane in range(LANES):
            found[lane] += tree[k, lane]
        k -= k & -k


@njit(cache=True, nogil=True)
def c_index_kernel(bounds, rank, below, upto, distinct, row_of_patient, table, seed, weighting, fixed, out):
    """Write the C-index of each replicate and model to ``out`` (replicates, models)."""
    replicates, models = out.shape
    n = len(row_of_patient)
    drawn = np.empty((LANES, n), dtype=np.uint16)
    weights = np.empty((n, LANES), dtype=np.int32)
    tree = np.empty((n + 1, LANES), dtype=np.int32)
    single = np.empty((n + 1, LANES), dtype=np.int32)
    curve = np.ones((len(bounds), LANES))
    total = np.empty(LANES, dtype=np.int32)
    found = np.empty(LANES, dtype=np.int32)
    factor = np.ones(LANES)
    twice_concordant = np.empty(LANES)
    comparable = np.empty(LANES)
    for first in range(0, replicates, LANES):
        _fill_lanes(first, replicates, seed, row_of_patient, table, drawn, weights)
        if weighting == 2:
            _uncensored_lanes(bounds, weights, curve)
        for model in range(models):
            size = distinct[model]
            tree[: size + 1] = 0
            single[: size + 1] = 0
            total[:] = 0
            twice_concordant[:] = 0.0
            comparable[:] = 0.0
            for g in range(len(bounds)):
                # The censored outlive the deaths of the same time; two deaths at one time do not compare.
                for row in range(bounds[g, 0], bounds[g, 1]):
                    _add(tree, single, rank[model, row], size, weights[row], total)
                for row in range(bounds[g, 1], bounds[g, 2]):
                    if fixed[row] == 0.0:
                        continue
                    k = rank[model, row]
                    found[:] = 0
                    _prefix(tree, below[model, k], found)
                    if upto[model, k] - below[model, k] == 1:
                        for lane in range(LANES):
                            found[lane] = 2 * found[lane] + single[k, lane]
                    else:
                        _prefix(tree, upto[model, k], found)
                    if weighting == 2:
                        for lane in range(LANES):
                            probability = curve[g, lane]
                            factor[lane] = 1.0 / (probability * probability) if probability > 0.0 else 0.0
                    elif weighting == 1:
                        factor[:] = fixed[row]
                    for lane in range(LANES):
                        times = weights[row, lane] * factor[lane]
                        twice_concordant[lane] += times * found[lane]
                        comparable[lane] += times * total[lane]
                for row in range(bounds[g, 1], bounds[g, 2]):
                    _add(tree, single, rank[model, row], size, weights[row], total)
            for lane in range(min(LANES, replicates - first)):
                value = np.nan
                if comparable[lane] > 0.0:
                    value = 0.5 * twice_concordant[lane] / comparable[lane]
                out[first + lane, model] = value


@njit(cache=True, nogil=True)
def auc_kernel(bounds, event, order, last, controls, row_of_patient, table, seed, estimate_censoring, fixed, out):
    """Write the AUC of each replicate, model and month to ``out`` (replicates, models, months)."""
    replicates, models, months = out.shape
    n = len(row_of_patient)
    drawn = np.empty((LANES, n), dtype=np.uint16)
    weights = np.empty((n, LANES))
    cases = np.zeros((n, LANES))  # inverse-probability weights of the dead
    curve = np.ones((len(bounds), LANES))
    area = np.empty(LANES)
    below = np.empty(LANES)
    tied_case = np.empty(LANES)
    tied_control = np.empty(LANES)
    all_cases = np.empty(LANES)
    for first in range(0, replicates, LANES):
        _fill_lanes(first, replicates, seed, row_of_patient, table, drawn, weights)
        if estimate_censoring:
            _uncensored_lanes(bounds, weights, curve)
        for g in range(len(bounds)):
            for row in range(bounds[g, 1], bounds[g, 2]):
                for lane in range(LANES):
                    if estimate_censoring:
                        probability = curve[g, lane]
                        cases[row, lane] = weights[row, lane] / probability if probability > 0.0 else 0.0
                    else:
                        cases[row, lane] = weights[row, lane] * fixed[row]
        for model in range(models):
            for month in range(months):
                area[:] = 0.0
                below[:] = 0.0
                all_cases[:] = 0.0
                tied_case[:] = 0.0
                tied_control[:] = 0.0
                open_tie = False
                for i in range(n):
                    row = order[model, i]
                    is_control = row < controls[month]
                    if last[model, i] and not open_tie:  # a score of its own
                        if is_control:
                            for lane in range(LANES):
                                below[lane] += weights[row, lane]
                        elif event[row]:
                            for lane in range(LANES):
                                area[lane] += cases[row, lane] * below[lane]
                                all_cases[lane] += cases[row, lane]
                        continue
                    open_tie = True
                    if is_control:
                        for lane in range(LANES):
                            tied_control[lane] += weights[row, lane]
                    elif event[row]:
                        for lane in range(LANES):
                            tied_case[lane] += cases[row, lane]
                    if last[model, i]:
                        for lane in range(LANES):
                            area[lane] += tied_case[lane] * (below[lane] + 0.5 * tied_control[lane])
                            below[lane] += tied_control[lane]
                            all_cases[lane] += tied_case[lane]
                            tied_case[lane] = 0.0
                            tied_control[lane] = 0.0
                        open_tie = False
                for lane in range(min(LANES, replicates - first)):
                    value = np.nan
                    if all_cases[lane] > 0.0 and below[lane] > 0.0:
                        value = area[lane] / (all_cases[lane] * below[lane])
                    out[first + lane, model, month] = value
