"""Commands as forks of one process that has the libraries loaded: the same answers, ends and signals as without."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis_lib.common import warm

ROOT = Path(__file__).resolve().parents[2]
SERVE = "import sys, analysis_lib.common.warm as w; w.serve(sys.argv[1], [w.COMMAND])"
WRONG = ["features", "--image", "nothing.nii", "--mask", "nothing.nii", "--params", "nothing.yaml"]


class Served:
    """A process behind a socket, that of a make which is a sleeping process; the commands that it runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.make = subprocess.Popen(["sleep", "600"])
        self.name = f".warm-{self.make.pid}"
        environment = os.environ | {"PYTHONPATH": str(root)}
        self.process = subprocess.Popen([sys.executable, "-c", SERVE, self.name], cwd=root, env=environment)
        self.environment = environment | {warm.VARIABLE: self.name}

    def wait_until(self, there: bool) -> None:
        end = time.monotonic() + 60
        while (self.root / self.name).exists() != there:
            assert time.monotonic() < end
            time.sleep(0.02)

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        """A command by the process, or it says that it would have run by itself."""
        code = "import sys\nfrom analysis_lib.common.warm import run_warm\n"
        code += "s = run_warm(sys.argv[1:])\nprint('cold' if s is None else '', end='')\nsys.exit(s or 0)"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.Popen(command, cwd=self.root, env=self.environment, **pipes, **options)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, error = process.communicate(timeout=60)
        return process.returncode, out, error

    def end(self) -> None:
        self.make.kill()
        self.make.wait()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    for name in ("analysis_lib", "params"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@pytest.fixture
def served(root):
    served = Served(root)
    served.wait_until(True)
    yield served
    served.end()


def test_a_command_says_and_ends_as_without(served):
    command = [sys.executable, "-m", "analysis_lib", *WRONG]
    alone = subprocess.run(command, cwd=served.root, capture_output=True, text=True)
    assert served.run(*WRONG) == (alone.returncode, alone.stdout, alone.stderr) and alone.returncode == 2
    status, out, error = served.run("prepar")
    assert (status, out) == (2, "") and "did you mean 'prepare'" in error
    status, out, _ = served.run("--help")
    assert status == 0 and out.startswith("usage: python -m analysis_lib")
    assert [served.run(*WRONG)[0] for _ in range(2)] == [2, 2]  # as often as one likes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_the_command_and_no_other(served, number):
    (served.root / "analysis_lib").stat()
    waiting = ["indices", "--ct", "fifo.nii", "--mask", "fifo.nii"]
    fifo = served.root / "fifo.nii"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)  # a read that never ends
    process = served.start(*waiting)
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    end = time.monotonic() + 60
    while not children.read_text().split():
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)
    if number == signal.SIGKILL:  # the command itself, as by a system without memory
        os.kill(int(children.read_text().split()[0]), number)
    else:
        process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert process.returncode == 130 and "interrupted" in error
    if number == signal.SIGKILL:
        assert process.returncode == warm.ENDS and "before its time" in error
    assert served.run(*WRONG)[0] == 2


def test_the_process_ends_with_its_make(root):
    served = Served(root)
    served.wait_until(True)
    served.end()
    assert not (root / served.name).exists() and served.process.returncode == 0
    status, out, error = served.run("prepar")  # nobody answers: the command runs by itself
    assert (status, out, error) == (0, "cold", "")


def test_a_process_that_was_killed_is_replaced_and_what_it_left_goes(root):
    served = Served(root)
    served.wait_until(True)
    served.process.kill()
    served.process.wait()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (root / f".warm-{ended.pid}").touch()
    assert (root / served.name).exists()
    assert served.run(*WRONG)[:2] == (0, "cold")  # and starts another one
    served.wait_until(True)
    assert served.run(*WRONG)[0] == 2
    assert not (root / f".warm-{ended.pid}").exists()
    served.make.kill()
    served.make.wait()
    served.wait_until(False)


def test_other_code_on_the_disk_is_never_run_by_what_was_loaded(served):
    module = served.root / "analysis_lib" / "common" / "times.py"
    module.write_text(module.read_text() + "\n")
    assert served.run(*WRONG)[1] == "cold"
    assert served.process.wait(timeout=60) == 0


def test_without_the_variable_a_command_runs_by_itself(monkeypatch):
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    assert warm.run_warm(WRONG) is None
    monkeypatch.setenv(warm.VARIABLE, "")
    assert warm.run_warm(WRONG) is None and warm.VARIABLE not in os.environ


def test_what_is_forked_has_no_thread_that_a_fork_would_lose():
    code = (
        "import importlib, os, sys\nfrom analysis_lib.common import warm\n"
        "for name in warm.PRELOADED: importlib.import_module(name)\n"
        "print('tensorflow' in sys.modules)\n"
        "for task in os.listdir('/proc/self/task'): print(open(f'/proc/self/task/{task}/comm').read().strip())"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded, _, *others = found.stdout.split()
    assert loaded == "False"
    assert set(others) <= {"jemalloc_bg_thd"}  # Arrow's memory, which sees to forks itself (pthread_atfork)


def test_sets_have_the_same_order_in_every_run():
    """What a set of names is walked in decides an order of columns, where somebody forgot to sort."""
    code = "import sys; print(sys.flags.hash_randomization)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    plain = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert plain.stdout.split() == ["1"]
    trace = [sys.executable, "-v", "-m", "analysis_lib", "--help"]
    found = subprocess.run(trace, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert found.stderr.count("import 'analysis_lib.pins'") == 2  # it began again, with a fixed seed
    fixed = subprocess.run(trace, cwd=ROOT, env=environment | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    assert fixed.stderr.count("import 'analysis_lib.pins'") == 1
