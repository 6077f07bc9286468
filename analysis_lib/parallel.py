"""Many patients on many processes, with progress, in the order given."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm


def worker_count(workers: int) -> int:
    """Number of processes for a parameter in which 0 means all cores this process may use."""
    return workers or len(os.sched_getaffinity(0))


def map_patients(
    function: Callable[..., Any],
    arguments: Iterable[tuple],
    *,
    workers: int,
    label: str,
    quiet: bool = False,
    unit: str = "patient",
) -> list[Any]:
    """Apply ``function`` to each tuple of arguments, one patient (or other ``unit``) each; results in the order given.

    Progress (patients done, rate, time left) goes to standard error. An interrupt ends the workers; what
    ``function`` wrote stays, so that the next call resumes.
    """
    arguments = list(arguments)
    progress = tqdm(
        total=len(arguments),
        desc=label,
        unit=unit,
        file=sys.stderr,
        disable=quiet,
        mininterval=1,
        smoothing=0.05,
    )
    results = []
    with progress, warnings.catch_warnings():
        # A worker whose memory grew is replaced by a fresh one: as it should be, and nothing to warn of.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
        jobs = Parallel(n_jobs=min(worker_count(workers), max(len(arguments), 1)), return_as="generator")(
            delayed(function)(*item) for item in arguments
        )
        for result in jobs:
            results.append(result)
            progress.update()
    return results
