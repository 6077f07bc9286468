"""The same last digits on every processor: the pins, products that no cache cuts, and the proof on other processors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis_lib import PINNED, pins
from analysis_lib.coxnet import products
from analysis_lib.coxnet.tf_setup import tf

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = shutil.which("qemu-x86_64")
OTHERS = ["Haswell-v4", "EPYC-Rome"]
LISTED = "import sys, analysis_lib; from analysis_lib.ui.command_line import main; sys.exit(main(['fingerprint']))"


def start(*emulator: str, **changes: str) -> subprocess.Popen:
    """``python -m analysis_lib fingerprint`` in a process without the pins of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in PINNED} | changes
    command = [*emulator, os.path.realpath(sys.executable) if emulator else sys.executable, "-c", LISTED]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def listed(process: subprocess.Popen) -> str:
    """What it prints."""
    out, _ = process.communicate()
    assert process.returncode == 0
    return out


@pytest.fixture(scope="module")
def here() -> str:
    return listed(start())


def emulate(processor: str) -> subprocess.Popen:
    # argv[0] tells Python which environment it belongs to
    return start(str(EMULATOR), "-cpu", processor, "-0", sys.executable)


@pytest.fixture(scope="module")
def emulated() -> Iterator[dict[str, subprocess.Popen]]:
    """Both at once: each takes minutes of one core."""
    if EMULATOR is None:
        pytest.skip("qemu-x86_64 not found: install qemu-user to try other processors")
    processes = {processor: emulate(processor) for processor in OTHERS}
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


def test_the_fingerprint_names_its_parts(here):
    lines = [line.rsplit(maxsplit=1) for line in here.splitlines()]
    names = [name for name, _ in lines]
    assert names[0] == "features of one patient" and names[-1] == "all" and "AutoEncoder" in names
    assert all(len(value) == 16 and int(value, 16) >= 0 for _, value in lines)
    assert len({value for _, value in lines}) == len(lines)


@pytest.mark.slow
def test_what_a_user_has_set_does_not_move_a_digit(here):
    """Threads and kernels of the shell that starts the study."""
    others = {
        "OPENBLAS_CORETYPE": "Nehalem",
        "OMP_NUM_THREADS": "2",
        "NUMBA_CPU_NAME": "generic",
        "PYTHONHASHSEED": "3",
    }
    others |= {"ONEDNN_MAX_CPU_ISA": "AVX", "NPY_ENABLE_CPU_FEATURES": "X86_V3", "TF_ENABLE_ONEDNN_OPTS": "1"}
    assert listed(start(**others)) == here


@pytest.mark.parametrize("processor", OTHERS)
def test_other_processors_give_the_same_bytes(here, emulated, processor):
    """Intel of 2013, AMD of 2019: no AVX-512, other caches than this machine may have."""
    assert listed(emulated[processor]) == here


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="qemu-x86_64 not found: install qemu-user to try other processors")
@pytest.mark.parametrize("processor", ["Skylake-Client-v4", "EPYC-v2", "Broadwell-v4"])
def test_more_processors_give_the_same_bytes(here, processor):
    assert listed(emulate(processor)) == here


def test_pins_reach_a_kernel_that_starts_another_way():
    code = "import analysis_lib; from numpy._core._multiarray_umath import __cpu_features__ as f; print(f['X86_V3'])"
    environment = {name: value for name, value in os.environ.items() if name not in PINNED}
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == "False"


def test_numpy_before_the_library_is_told():
    environment = {name: value for name, value in os.environ.items() if name not in PINNED}
    code = "import numpy, analysis_lib"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.returncode == 0 and "import analysis_lib first" in found.stderr


def test_another_architecture_gets_no_pins_of_this_one(monkeypatch):
    monkeypatch.setattr(pins.platform, "machine", lambda: "aarch64")
    assert not pins.is_x86() and "NPY_ENABLE_CPU_FEATURES" not in pins.pin()


@pytest.mark.parametrize("terms", [1, 255, 256, 257, 700, 256 * 16, 256 * 16 + 1, 5000])
def test_cut_products_and_their_gradients_are_products(terms):
    rng = np.random.default_rng(terms)
    a, b = rng.normal(size=(7, terms)).astype("f4"), rng.normal(size=(terms, 5)).astype("f4")
    left, right = tf.constant(a), tf.constant(b)
    with tf.GradientTape() as tape:
        tape.watch([left, right])
        found = products.product(left, right)
        weighed = tf.reduce_sum(found * tf.constant(np.arange(35.0, dtype="f4").reshape(7, 5)))
    by_left, by_right = tape.gradient(weighed, [left, right])
    weights = np.arange(35.0).reshape(7, 5)
    exact, size = a.astype(float) @ b, np.abs(a).astype(float) @ np.abs(b)
    assert np.all(np.abs(found - exact) <= 1e-6 * size)
    np.testing.assert_allclose(by_left, weights @ b.T.astype(float), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(by_right, a.T.astype(float) @ weights, rtol=1e-4, atol=1e-3)
    if terms <= products.FEW * products.BLOCK:
        inputs = products.Inputs(left, tf.constant([0, 2, 6]))
        np.testing.assert_array_equal(inputs.product(right), found)
        upstream = tf.constant(weights.astype("f4"))
        of_rows = products.gradients(tf.gather(left, [0, 2, 6]), right, tf.gather(upstream, [0, 2, 6]))[1]
        np.testing.assert_allclose(inputs.gradient(tf.gather(upstream, [0, 2, 6])), of_rows, rtol=1e-6, atol=1e-4)


def test_a_row_has_the_same_bits_wherever_it_stands():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(301, 300)).astype("f4"), tf.constant(rng.normal(size=(300, 33)).astype("f4"))
    whole = products.alike(lambda rows: products.product(rows, kernel), x)
    for rows in ([0], [300], [17, 3], list(range(100, 201)), list(range(301))[::-1]):
        np.testing.assert_array_equal(products.alike(lambda part: products.product(part, kernel), x[rows]), whole[rows])


def test_span_holds_every_patient_and_nothing_where_patients_are_many():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 200)).astype("f4")
    axes = products.span(x)
    assert axes.shape == (200, 30)
    np.testing.assert_allclose(axes.T @ axes, np.eye(30), atol=1e-12)
    np.testing.assert_allclose(x @ axes @ axes.T, x, atol=1e-5)
    assert products.span(x[:, :50]) is None
