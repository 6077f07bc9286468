"""Worker processes of one machine, one patient at a time each, and what becomes of a patient who kills his worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk
from joblib.externals import loky

from analysis_lib.common.pool import DEATHS, run_alone


class Result(NamedTuple):
    """What became of one patient: the features, or the reason why there are none and the stage it belongs to."""

    patient_id: str
    features: dict[str, float] | None
    reason: str = ""
    stage: str = "features"  # of the exclusions


_ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


def run_here(task: Callable[[str], Result], patient_ids: Sequence[str], workers: int = 1) -> Iterator[Result]:
    """One patient after the other in this process."""
    return map(task, patient_ids)


def run_local(task: Callable[[str], Result], patient_ids: Sequence[str], workers: int) -> Iterator[Result]:
    """Worker processes of one thread each. A patient whose worker dies twice is given up with the reason."""
    waiting = deque(patient_ids)
    if waiting and not _compiled():  # by a process that ends, for a worker would keep the compiler's 100 MB
        yield _run_alone(task, waiting.popleft())
    while waiting:
        suspects: list[str] = []
        with _pool(min(workers, len(waiting))) as pool:
            running = {}
            try:
                while waiting or running:
                    while waiting and len(running) < workers + 2:
                        # taken from the queue once the pool has it, so that none is lost if it refuses
                        running[pool.submit(task, waiting[0])] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        del running[future]
                        yield result
            except BrokenProcessPool:  # by whom is not known: each under way gets a process of its own
                for future, patient_id in running.items():
                    if future.done() and not future.cancelled() and future.exception() is None:
                        yield future.result()
                    else:
                        suspects.append(patient_id)
        for patient_id in suspects:
            yield _run_alone(task, patient_id)


def _compiled() -> bool:
    """Whether numba has kept the extractor's machine code from an earlier run."""
    return any((Path(__file__).parent / "__pycache__").glob("fast_matrices.*.nbi"))


def _run_alone(task: Callable[[str], Result], patient_id: str) -> Result:
    return run_alone(task, (patient_id,), _died, _pool)


def _died(patient_id: str) -> Result:
    return Result(patient_id, None, f"its worker process died {DEATHS} times (out of memory, or a library crashed)")


def _pool(workers: int) -> loky.ProcessPoolExecutor:
    return loky.ProcessPoolExecutor(max_workers=workers, initializer=start_worker, env=_ONE_THREAD)


def start_worker() -> None:
    """What each worker process does first: one thread, because the other cores have patients of their own."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
