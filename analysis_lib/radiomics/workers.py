"""Who extracts: this process, or the worker processes of this machine (``common.pool``); ``cluster`` is the third."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk

from analysis_lib.common.pool import DEATHS, run_alone, run_each


class Result(NamedTuple):
    """What became of one patient: the features, or the reason why there are none and the stage it belongs to."""

    patient_id: str
    features: dict[str, float] | None
    reason: str = ""
    stage: str = "features"  # of the exclusions


def run_here(task: Callable[[str], Result], patient_ids: Sequence[str], workers: int = 1) -> Iterator[Result]:
    """One patient after the other in this process."""
    return map(task, patient_ids)


def run_local(task: Callable[[str], Result], patient_ids: Sequence[str], workers: int) -> Iterator[Result]:
    """Worker processes of one thread each. A patient whose worker dies twice is given up with the reason."""
    waiting = [(patient_id,) for patient_id in patient_ids]
    if waiting and not _compiled():  # by a process that ends, for a worker would keep the compiler's 100 MB
        yield run_alone(task, waiting.pop(0), _died)
    for _, result in run_each(task, waiting, workers, _died):
        yield result


def _compiled() -> bool:
    """Whether numba has kept the extractor's machine code from an earlier run."""
    return any((Path(__file__).parent / "__pycache__").glob("fast_matrices.*.nbi"))


def _died(patient_id: str) -> Result:
    return Result(patient_id, None, f"its worker process died {DEATHS} times (out of memory, or a library crashed)")


def start_worker() -> None:
    """What each worker of a cluster does first: one thread, because the other cores have patients of their own.

    Those of this machine inherit the pins of ``analysis_lib``.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
