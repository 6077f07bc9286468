"""Many patients on many processes, with progress, in the order given."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from joblib import Parallel, delayed
from joblib.externals import loky
from tqdm import tqdm

from analysis_lib.common.errors import StudyError

DEATHS = 2  # processes that a patient may lose before it is given up
SUSPECTS = 16  # a worker, that get a process of their own where one died


class WorkerDied(StudyError, RuntimeError):
    """A process ended without a result, and nobody said what to do then."""


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
    died: Callable[..., Any] | None = None,
) -> list[Any]:
    """Apply ``function`` to each tuple of arguments, one patient (or other ``unit``) each; results in the order given.

    Progress (patients done, rate, time left) goes to standard error. An interrupt ends the workers; what
    ``function`` wrote stays, so that the next call resumes. ``died`` gives the result of a tuple whose process is
    killed (out of memory, or a decoder that crashes on its file), so that the others go on; without it, WorkerDied.
    """
    arguments = list(arguments)
    workers = min(worker_count(workers), max(len(arguments), 1))
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
        while len(results) < len(arguments):
            rest = arguments[len(results) :]
            try:
                for result in Parallel(n_jobs=workers, return_as="generator")(delayed(function)(*one) for one in rest):
                    results.append(result)
                    progress.update()
            except BrokenProcessPool:  # whose fault it was is not known
                for one in arguments[len(results) :][: SUSPECTS * workers]:
                    results.append(run_alone(function, one, died))
                    progress.update()
    return results


def run_alone(
    function: Callable[..., Any],
    arguments: tuple,
    died: Callable[..., Any] | None,
    pool: Callable[[int], loky.ProcessPoolExecutor] = loky.ProcessPoolExecutor,
) -> Any:
    """The result of one patient in a process of its own (``pool`` makes it); ``died`` as of ``map_patients``."""
    for _ in range(DEATHS):
        with pool(1) as executor:
            try:
                return executor.submit(function, *arguments).result()
            except BrokenProcessPool:
                continue
    if died is None:
        raise WorkerDied(f"a worker process died {DEATHS} times (out of memory?); give it more, or set fewer workers")
    return died(*arguments)
