"""Extraction on a Dask cluster: a real scheduler and workers on the loopback, some of them killed."""

import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from analysis_lib.radiomics import cluster
from analysis_lib.radiomics.cluster import ClusterError, run_dask, scheduler_address
from analysis_lib.radiomics.features import feature_table
from analysis_lib.radiomics.workers import run_here

HERE = Path(__file__).resolve().parent
from test_features import FILES, fingerprint, load  # noqa: E402 - the workers import it by this name

ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed", "ignore::ResourceWarning")


def dask(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "dask", *arguments]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def scheduler() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
    address = f"tcp://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield address
    process.terminate()
    process.wait()


@pytest.fixture
def workers(scheduler: str) -> Iterator[list[subprocess.Popen]]:
    started = [
        dask("worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "60")
        for _ in range(4)
    ]
    yield started
    for process in started:
        process.kill()
        process.wait()


def slow_load(patient_id: str, folder: Path):
    (folder / f"{patient_id}.{os.getpid()}").touch()
    time.sleep(0.3)
    return load(patient_id, folder=folder)


@pytest.mark.slow
def test_the_same_table_from_a_cluster_that_loses_workers(
    scheduler: str, workers: list[subprocess.Popen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker killed from outside; one patient kills its worker once, another whenever it is tried."""
    ids = ["P1", "P2", "P3", "deadly4", "P5", "P6", "P7", "unreadable8"]
    monkeypatch.setenv("SCHEDULER", scheduler)
    started = tmp_path / "started"
    started.mkdir()

    def executor(task, names, _):
        killed = False
        for result in run_dask(task, names, scheduler):
            if not killed:  # in the middle of the work: a worker that has no part in the deadly patient
                while not (deadly := {int(path.suffix[1:]) for path in started.glob("deadly4.*")}):
                    time.sleep(0.01)
                os.kill(next(worker.pid for worker in workers if worker.pid not in deadly), signal.SIGKILL)
                killed = True
            yield result

    table, failures = feature_table(
        ids,
        functools.partial(slow_load, folder=started),
        fingerprint,
        FILES,
        tmp_path / "features",
        quiet=True,
        executor=executor,
    )
    assert failures["patient_id"].tolist() == ["deadly4", "unreadable8"]
    assert "died 2 times" in failures["reason"][0]
    assert len(list(started.glob("deadly4.*"))) == 2
    good = [name for name in ids if name.startswith("P")]
    here, _ = feature_table(good, load, fingerprint, FILES, tmp_path / "here", quiet=True, executor=run_here)
    pd.testing.assert_frame_equal(table, here, check_exact=True)
    for name in good:
        ours, theirs = (sorted((tmp_path / place).rglob(f"{name}.json")) for place in ("here", "features"))
        assert ours and [p.read_bytes() for p in ours] == [p.read_bytes() for p in theirs]


def test_the_environment_variable_chooses_the_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:8786")
    monkeypatch.setattr(
        "analysis_lib.radiomics.features.run_dask",
        lambda task, ids, address: asked.append(address) or map(task, ids),
    )
    table, _ = feature_table(["P1"], load, fingerprint, FILES, tmp_path, quiet=True)
    assert asked == ["tcp://127.0.0.1:8786"]
    assert len(table) == 1


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCHEDULER", raising=False)
    assert scheduler_address() == ""
    monkeypatch.setenv("SCHEDULER", "host:8786")
    with pytest.raises(ClusterError, match="tcp://host:port"):
        scheduler_address()


def test_no_scheduler_and_no_worker_are_said(scheduler: str) -> None:
    with pytest.raises(ClusterError, match="no Dask scheduler at tcp://127.0.0.1:1 "):
        list(run_dask(load, ["P1"], "tcp://127.0.0.1:1", worker_timeout_s=0.5))
    with pytest.raises(ClusterError, match=r"no Dask worker at .* for 0.5 s; start some with"):
        list(run_dask(load, ["P1"], scheduler, worker_timeout_s=0.5))
    assert cluster.DEATHS == 2
