"""The same patients on a Dask cluster: ``SCHEDULER=tcp://host:port`` instead of processes of this machine.

A worker that is lost takes at most its own patients with it: each is done again, alone, so that it is known
which of them was the cause. A patient that has lost two workers is given up with the reason. Dask's own client, not
joblib's backend of it, whose results do not say which patient a lost worker had.

    Rocklin 2015, Dask: parallel computation with blocked algorithms, doi 10.25080/Majora-7b98e3ed-013
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis_lib.common.errors import StudyError
from analysis_lib.common.pool import DEATHS
from analysis_lib.radiomics.workers import Result

LIBRARY = Path(__file__).resolve().parents[2]  # the folder that workers import analysis_lib from
WORKER_TIMEOUT_S = 120  # without any worker for so long, the run ends; what is done is kept


class ClusterError(StudyError, RuntimeError):
    """The cluster cannot be used; the message says why and what to do."""


def scheduler_address() -> str:
    """Address in the environment variable SCHEDULER; empty for this machine's own processes."""
    address = os.environ.get("SCHEDULER", "").strip()
    if address and "://" not in address:
        raise ClusterError(f"SCHEDULER={address} is no address; give it as tcp://host:port")
    return address


def run_dask(
    task: Callable[[str], Result], patient_ids: Sequence[str], address: str, worker_timeout_s: float = WORKER_TIMEOUT_S
) -> Iterator[Result]:
    """Results of ``task`` for each patient, in any order; ``task`` is picklable and runs in the workers.

    The workers must see the same files under the same paths (a shared file system) and have this project's
    environment. Raises ClusterError where there is no scheduler or no worker.
    """
    from distributed import Client, as_completed
    from distributed.scheduler import KilledWorker

    try:
        client = Client(address, timeout=min(10, worker_timeout_s))
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler at {address} ({error}); start one with: dask scheduler") from None
    with client:
        _await_worker(client, address, worker_timeout_s)
        client.register_plugin(_worker_setup())
        # A loss comes back at once and is counted here. No worker holds a second patient in waiting: a patient that
        # had not begun when its worker died would be counted as the cause.
        before = client.run_on_scheduler(_settings(0, 1.0))
        deaths = dict.fromkeys(patient_ids, 0)
        try:
            alone: list[str] = []
            futures = {client.submit(task, name, pure=False): name for name in patient_ids}
            for future in _completed(as_completed(list(futures)), client, address, worker_timeout_s):
                patient_id = futures.pop(future)
                if isinstance(future.exception(), KilledWorker):
                    deaths[patient_id] += 1
                    alone.append(patient_id)
                else:
                    yield future.result()
            for patient_id in alone:
                yield from _alone(client, task, patient_id, deaths[patient_id], address, worker_timeout_s)
        finally:
            client.run_on_scheduler(_settings(*before))


def _alone(client: Any, task: Callable, patient_id: str, deaths: int, address: str, timeout_s: float) -> Iterator:
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    while deaths < DEATHS:
        _await_worker(client, address, timeout_s)
        future = client.submit(task, patient_id, pure=False)
        next(_completed(as_completed([future]), client, address, timeout_s))
        if not isinstance(future.exception(), KilledWorker):
            yield future.result()
            return
        deaths += 1
    reason = f"its worker process died {deaths} times (out of memory, or a library crashed)"
    yield Result(patient_id, None, reason)


def _completed(completed: Any, client: Any, address: str, timeout_s: float) -> Iterator:
    """Futures as they end, watching that there are workers to end them."""
    while not completed.is_empty():
        try:
            completed.timeout = timeout_s
            yield next(completed)
        except TimeoutError:
            _await_worker(client, address, timeout_s)


def _await_worker(client: Any, address: str, timeout_s: float) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        raise ClusterError(
            f"no Dask worker at {address} for {timeout_s:g} s; start some with: dask worker {address} --nthreads 1, "
            "then run the same command again: what is done is kept"
        ) from None


def _settings(allowed_failures: int, saturation: float) -> Callable:
    # a function within a function travels by value: the scheduler need not have this library
    def change(dask_scheduler: Any) -> tuple[int, float]:
        before = dask_scheduler.allowed_failures, dask_scheduler.WORKER_SATURATION
        dask_scheduler.allowed_failures, dask_scheduler.WORKER_SATURATION = allowed_failures, saturation
        return before

    return change


def _worker_setup() -> Any:
    from distributed import WorkerPlugin

    path = str(LIBRARY)

    class Setup(WorkerPlugin):
        """One thread a patient, and this checkout's library first."""

        name = "analysis_lib"
        idempotent = True

        def setup(self, worker: Any) -> None:
            import sys

            if path not in sys.path:
                sys.path.insert(0, path)
            from analysis_lib.radiomics.workers import start_worker

            start_worker()

    return Setup()
