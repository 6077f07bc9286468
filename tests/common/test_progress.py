"""Progress in a log: whole lines, few of them."""

from __future__ import annotations

import io

import pytest

from analysis_lib.common import progress
from analysis_lib.common.progress import Progress, length


def test_a_log_gets_whole_lines_now_and_then(monkeypatch):
    log, clock = io.StringIO(), iter(range(0, 10_000, 7))
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress(20, "features", "patient") as bar:
        for k in range(20):
            bar.update("2 failed" if k > 10 else "")
    lines = log.getvalue().splitlines()
    assert lines[0] == "features: 5 of 20, 2 min left"
    assert len(lines) == 4 and lines[-1] == "features: 20 of 20, in 2 min, 2 failed" and "\r" not in log.getvalue()


@pytest.mark.parametrize(("total", "quiet"), [(0, False), (3, True)])
def test_nothing_is_said_of_nothing(monkeypatch, total, quiet):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with Progress(total, "indices", "patient", quiet) as bar:
        for _ in range(total):
            bar.update()
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (7800, "2 h 10 min")]
)
def test_length(seconds, text):
    assert length(seconds) == text
