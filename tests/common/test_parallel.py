"""A patient whose process dies does not stop the others."""

import gc
import os
import resource
import signal

import numpy as np
import pytest
import SimpleITK as sitk

from analysis_lib.common.pool import TooMuchMemory, WorkerDied, map_patients, memory_limit
from analysis_lib.ct.data_paths import named_for_itk

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


@pytest.fixture(scope="module")
def packed_volume(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "zeros.nii.gz"  # 5 kB that unpack to 128 MB
    sitk.WriteImage(sitk.Image([512, 512, 256], sitk.sitkInt16), str(path))
    return path


def read_by_itk(path):
    with named_for_itk(path, (".nii.gz",)) as name:
        return sitk.ReadImage(name)


@pytest.mark.parametrize("hungry", [lambda _: np.ones(4 * 10**7), lambda _: bytearray(320_000_000), read_by_itk])
def test_who_asks_for_more_memory_is_told_so_and_the_process_goes_on(hungry, packed_volume):
    gc.collect()  # what earlier tests left would be freed within the limit, and make room
    before = resource.getrlimit(resource.RLIMIT_DATA)
    told = pytest.raises(TooMuchMemory, match=r"more than 0.05 GB of memory; export .* \(images.memory_gb\)")
    with told, memory_limit(0.05):
        hungry(packed_volume)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with memory_limit(1):
        assert hungry(packed_volume) is not None


def takes(gigabytes):
    try:
        with memory_limit(0.05):
            return len(bytearray(int(gigabytes * 2**30)))
    except TooMuchMemory:
        return "too much"


def test_a_worker_outlives_the_patient_who_asked_for_too_much():
    found = map_patients(takes, [(0,), (0.2,), (0.01,)], workers=2, label="test", quiet=True)
    assert found == [0, "too much", 10737418]


def fails(number):
    if number == FATAL:
        raise OSError(28, "No space left on device")
    return os.getpid()


def test_an_error_ends_the_workers_without_a_word(capfd):
    with pytest.raises(OSError, match="No space left"):
        map_patients(fails, [(number,) for number in range(12)], workers=2, label="test", quiet=True)
    assert capfd.readouterr().err == ""
