"""Many patients on many processes of this machine: the one pool, what memory a patient may take, who kills a worker."""

from __future__ import annotations

import os
import resource
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joblib.externals import loky

from analysis_lib.common.errors import StudyError
from analysis_lib.common.progress import Progress

DEATHS = 2  # processes that a patient may lose before it is given up
AHEAD = 2  # patients that wait in the pool for a worker to be free
SHARE = 5 / 8  # of the machine's memory that a run may take: 5 GB of 8
BESIDE_GB = 2.5  # what a run takes beside its workers, at most: the notebook that trains the model, and another
WORKER_GB = 0.6  # of a worker that measures or extracts
IDLE_S = 300  # a worker without work ends after so long


class WorkerDied(StudyError, RuntimeError):
    """A process ended without a result, and nobody said what to do then."""


class TooMuchMemory(StudyError, ValueError):
    """A patient asks for more memory than one may take."""


@contextmanager
def memory_limit(gb: float) -> Iterator[None]:
    """Let the block take ``gb`` GB of memory beyond what this process has; TooMuchMemory where it asks for more.

    So a file that unpacks to more than the machine has ends neither the process nor, by the kernel's choice, another.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    has = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limits = [has + int(gb * 2**30), *(limit for limit in before if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), before[1]))
    try:
        yield
    except MemoryError:
        raise TooMuchMemory(
            f"CT, mask or features take more than {gb:g} GB of memory; export them again if they are no larger than "
            "others, or give a worker more (images.memory_gb)"
        ) from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def worker_count(workers: int, each_gb: float = WORKER_GB) -> int:
    """Number of processes for a parameter in which 0 means all cores this process may use, as far as memory goes.

    ``each_gb``: what one takes, GB. All processes of a run together keep to ``SHARE`` of the machine's memory.
    """
    machine_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return workers or max(1, min(len(os.sched_getaffinity(0)), int((machine_gb * SHARE - BESIDE_GB) / each_gb)))


def map_patients(
    function: Callable[..., Any],
    arguments: Iterable[tuple],
    *,
    workers: int,
    label: str,
    quiet: bool = False,
    unit: str = "patient",
    died: Callable[..., Any] | None = None,
    each_gb: float = WORKER_GB,
) -> list[Any]:
    """Apply ``function`` to each tuple of arguments, one patient (or other ``unit``) each; results in the order given.

    Progress (patients done, rate, time left) goes to standard error. An interrupt ends the workers; what
    ``function`` wrote stays, so that the next call resumes. ``died`` gives the result of a tuple whose process is
    killed (out of memory, or a decoder that crashes on its file), so that the others go on; without it, WorkerDied.
    ``each_gb``: see ``worker_count``.
    """
    arguments = list(arguments)
    workers = min(worker_count(workers, each_gb), max(len(arguments), 1))
    results: list[Any] = [None] * len(arguments)
    with Progress(len(arguments), label, unit, quiet) as progress:
        each = run_here(function, arguments) if workers == 1 else run_each(function, arguments, workers, died)
        for place, result in each:
            results[place] = result
            progress.update()
    return results


def run_here(function: Callable[..., Any], arguments: Iterable[tuple]) -> Iterator[tuple[int, Any]]:
    """Place and result of each tuple of arguments, one after the other in this process."""
    for place, one in enumerate(arguments):
        yield place, function(*one)


def run_each(
    function: Callable[..., Any], arguments: Sequence[tuple], workers: int, died: Callable[..., Any] | None
) -> Iterator[tuple[int, Any]]:
    """Place and result of each tuple of arguments as they end, by worker processes; ``died`` as of ``map_patients``.

    Where a worker dies, it is not known by whom: each that was under way gets a process of its own. Workers inherit the
    pins of ``analysis_lib`` and are kept for the next call, because importing TensorFlow takes them seconds.
    """
    waiting = deque(enumerate(arguments))
    with warnings.catch_warnings():
        # A worker whose memory grew is replaced by a fresh one: as it should be, and nothing to warn of.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
        while waiting:
            running: dict[Future, tuple[int, tuple]] = {}
            pool = loky.get_reusable_executor(max_workers=min(workers, len(waiting)), timeout=IDLE_S)
            try:
                while waiting or running:
                    while waiting and len(running) < workers + AHEAD:
                        # taken from the queue once the pool has it, so that none is lost if it refuses
                        running[pool.submit(function, *waiting[0][1])] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future)[0], result
            except BrokenProcessPool:
                for future, (place, one) in running.items():
                    whole = future.done() and not future.cancelled() and future.exception() is None
                    yield place, future.result() if whole else run_alone(function, one, died)
            except BaseException as error:
                # An interrupt ends the workers at once. Otherwise they end by themselves, after what they are at: the
                # warnings of a killed pool would hide the error.
                for future in running:
                    future.cancel()
                pool.shutdown(wait=True, kill_workers=not isinstance(error, Exception))
                raise


def run_alone(function: Callable[..., Any], arguments: tuple, died: Callable[..., Any] | None) -> Any:
    """The result of one patient in a process of its own; ``died`` as of ``map_patients``."""
    for _ in range(DEATHS):
        with loky.ProcessPoolExecutor(1) as executor:
            try:
                return executor.submit(function, *arguments).result()
            except BrokenProcessPool:
                continue
    if died is None:
        raise WorkerDied(f"a worker process died {DEATHS} times (out of memory?); give it more, or set fewer workers")
    return died(*arguments)
