"""A run that is killed, or whose disk is full, goes on with the same command and ends with the same bytes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from tiny_study import ONE_WORKER, TinyStudy, project  # noqa: F401

PATIENTS = ["K01", "K02", "K03", "K04"]
WORK = ("measure", "assemble", "features", "exclusions")


@pytest.fixture(scope="module")
def finished(project):  # noqa: F811
    """A study, what its uninterrupted run wrote, and how many seconds that took."""
    study = TinyStudy(project, "killed")
    for name in PATIENTS:
        study.add_patient(name)
    study.write_table(PATIENTS)
    start = time.monotonic()
    status, _, error = study.run(*WORK)
    assert status == 0, error
    return study, study.outputs(), time.monotonic() - start


def kill_at(study: TinyStudy, seconds: float) -> None:
    """Start the work and end it and its workers by SIGKILL, unless it is done before."""
    process = study.start(*WORK, start_new_session=True)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def killed_and_resumed(finished, moments) -> None:
    study, expected, duration = finished
    study.forget()
    for moment in moments:
        kill_at(study, moment * duration)
    status, _, error = study.run(*WORK)
    assert status == 0, error
    assert study.outputs() == expected, "the same files with the same bytes, and nothing left behind"


def test_killed_in_the_middle(finished):
    killed_and_resumed(finished, [0.7])


@pytest.mark.slow
def test_killed_at_twenty_random_moments(finished):
    killed_and_resumed(finished, np.random.default_rng(20).uniform(0.1, 1.0, 20))


def test_killed_between_writing_and_moving_leaves_nothing_behind(finished):
    """As if killed at the worst moment: temporary files of a process that is no more."""
    study, expected, _ = finished
    gone = subprocess.Popen(["true"])
    gone.wait()
    from analysis_lib.common.files import remove_leftovers, temporary_prefix

    name = temporary_prefix().replace(str(os.getpid()), str(gone.pid))
    (study.build / f"{name}abc.parquet").write_bytes(b"half")
    (study.build / f"{name}folder").mkdir()
    mine = study.build / f"{temporary_prefix()}abc.parquet"
    mine.write_bytes(b"under way")
    remove_leftovers(study.build)
    assert mine.is_file(), "what a living process writes is left alone"
    mine.unlink()
    assert study.outputs() == expected


@pytest.fixture(scope="module")
def single(finished, project) -> TinyStudy:  # noqa: F811
    """The same patients, for one worker."""
    study = TinyStudy(project, "single", ONE_WORKER)
    shutil.copytree(finished[0].data, study.data, dirs_exist_ok=True)
    return study


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 40])
def test_no_room_for_a_file_and_then_the_bytes_of_several_workers(finished, single, kilobytes):
    """Files may have a few kilobytes only: the small tables are written, a feature file or table is not."""
    study, expected = single, {name.replace("killed", "single"): data for name, data in finished[1].items()}
    study.forget()
    limit = kilobytes * 1024
    status, _, error = study.run(*WORK, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert status == 2
    assert error.splitlines()[-1].startswith("error: the disk or its quota is full; free some space")
    assert "Traceback" not in error
    status, _, error = study.run(*WORK)
    assert status == 0, error
    assert study.outputs() == expected


@pytest.mark.slow
def test_full_disk(finished):
    """A disk of 60 kB, which the features of the first patients fill; needs the right to mount one."""
    study, expected, _ = finished
    study.forget()
    study.build.mkdir(exist_ok=True, parents=True)
    cache = study.project / "build" / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(cache)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        status, _, error = study.run(*WORK)
        assert status == 2
        assert [line for line in error.splitlines() if not line.startswith("warning: ")] == [
            "error: the disk or its quota is full; free some space, then the same command goes on where it stopped"
        ]
        assert not (study.build / "features.parquet").exists()
        subprocess.run(["mount", "-o", "remount,size=50m", str(cache)], check=True)
        status, _, error = study.run(*WORK)
        assert status == 0, error
        assert study.outputs() == expected
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)
