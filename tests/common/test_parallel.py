"""A patient whose process dies does not stop the others."""

import os
import signal

import pytest

from analysis_lib.common.pool import WorkerDied, map_patients

FATAL = 3


def square(number, power):
    if number == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
    return number**power


def given_up(number, power):
    return f"{number} ended its process"


def test_the_others_go_on_in_order():
    jobs = [(number, 2) for number in range(6)]
    found = map_patients(square, jobs, workers=2, label="test", quiet=True, died=given_up)
    assert found == [0, 1, 4, "3 ended its process", 16, 25]


def test_without_an_answer_the_run_stops_in_one_line():
    with pytest.raises(WorkerDied, match="died 2 times .out of memory.*; give it more, or set fewer workers"):
        map_patients(square, [(number, 2) for number in range(2, 5)], workers=2, label="test", quiet=True)
