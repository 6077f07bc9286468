"""How many processes a run starts on machines of other sizes: as many as cores, and no more than fit into its share."""

from __future__ import annotations

import os

import pytest

from analysis_lib.common.pool import BESIDE_GB, SHARE, WORKER_GB, worker_count
from analysis_lib.stages.optimism import FIT_GB


@pytest.mark.parametrize(
    ("machine_gb", "cores", "fits", "measures"), [(8, 8, 1, 4), (4, 4, 1, 1), (16, 4, 4, 4), (64, 16, 16, 16)]
)
def test_workers_fit_into_the_memory(monkeypatch, machine_gb, cores, fits, measures):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(os, "sysconf", lambda name: machine_gb * 2**20 if name == "SC_PHYS_PAGES" else 2**10)
    assert (worker_count(0, FIT_GB), worker_count(0)) == (fits, measures)
    assert worker_count(3, FIT_GB) == 3  # who asks for a number has it
    for each_gb in (FIT_GB, WORKER_GB):
        workers = worker_count(0, each_gb)
        assert workers == 1 or BESIDE_GB + workers * each_gb <= SHARE * machine_gb
