"""Time the resampling engine against scikit-survival in one run; writes build/bench/resampling.json.

Both do the same: draw 1000 bootstrap samples of patients and compute the measure in each. The time of
scikit-survival for 1000 replicates is scaled up from as many as ``SAMPLES`` says, since at n = 50,000 it
would take an hour; the values of those replicates are compared with the engine's on the same resamples.
"""

from __future__ import annotations

import analysis_lib  # noqa: F401  # isort: skip  before NumPy, since it pins the numerical libraries

import json
import time
from pathlib import Path

import numpy as np
from sksurv.metrics import concordance_index_censored, cumulative_dynamic_auc
from sksurv.util import Surv

from analysis_lib.common.files import write_text
from analysis_lib.survival import resampling

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "resampling.json"
REPLICATES = 1000
SAMPLES = {147: 200, 5000: 12, 50_000: 1}
SEED = 1


def cohort(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months, events (about half) and a risk score that predicts them, without ties."""
    rng = np.random.default_rng(n)
    risk = rng.normal(size=n)
    death, censoring = rng.exponential(40 * np.exp(-0.5 * risk)), rng.uniform(5, 80, n)
    return np.minimum(death, censoring), death <= censoring, risk


def seconds(function, repeats: int) -> float:
    """Shortest of several runs, the first (which compiles or loads the loops) left out."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def bench_c_index(n: int) -> dict[str, float]:
    month, event, risk = cohort(n)
    ours = seconds(lambda: resampling.c_index_replicates(month, event, risk, REPLICATES, SEED), 20 if n < 1000 else 3)
    values = resampling.c_index_replicates(month, event, risk, SAMPLES[n], SEED)[:, 0]
    counts = resampling.bootstrap_counts(n, SAMPLES[n], SEED)
    start = time.perf_counter()
    theirs = []
    for count in counts:
        i = np.repeat(np.arange(n), count)
        theirs.append(concordance_index_censored(event[i], month[i], risk[i])[0])
    reference = (time.perf_counter() - start) * REPLICATES / SAMPLES[n]
    assert values.tolist() == theirs, "the engine and scikit-survival differ"
    return {
        f"engine_seconds_{n}": ours,
        f"scikit_survival_seconds_{n}": reference,
        f"ratio_{n}": reference / ours,
    }


def bench_auc(n: int = 500, samples: int = 200) -> dict[str, float]:
    month, event, risk = cohort(n)
    months = np.arange(6.0, 60.0, 5.5)  # 10 times
    ours = seconds(lambda: resampling.auc_replicates(month, event, risk, months, REPLICATES, SEED), 10)
    values = resampling.auc_replicates(month, event, risk, months, samples, SEED)[:, 0]
    counts = resampling.bootstrap_counts(n, samples, SEED)
    start = time.perf_counter()
    theirs = []
    for count in counts:
        i = np.repeat(np.arange(n), count)
        outcome = Surv.from_arrays(event[i], month[i])
        theirs.append(cumulative_dynamic_auc(outcome, outcome, risk[i], months)[0])
    reference = (time.perf_counter() - start) * REPLICATES / samples
    np.testing.assert_allclose(values, theirs, rtol=1e-12)
    return {
        f"auc_engine_seconds_{n}": ours,
        f"auc_scikit_survival_seconds_{n}": reference,
        f"auc_ratio_{n}": reference / ours,
    }


def main() -> None:
    result: dict[str, float] = {"replicates": REPLICATES}
    for n in SAMPLES:
        result |= bench_c_index(n)
    result |= bench_auc()
    write_text(OUTPUT, json.dumps(result, indent=1) + "\n")
    print(OUTPUT.read_text())


if __name__ == "__main__":
    main()
