"""SIGINT to make alone ends its commands as Ctrl-C does, which reaches all of them."""

import signal
import subprocess
import sys
from subprocess import PIPE

import pytest
from made import as_a_user

COMMAND = """
import sys, time
sys.path.insert(0, {root!r})
from analysis_lib.ui import command_line, interrupts
interrupts.EVERY_S = 0.1
command_line._code = lambda *_: (print("begun", flush=True), time.sleep(120))
sys.exit(command_line.main(["code"]))
"""


@pytest.mark.parametrize("recipe", ["@{python} command.py", "@{python} command.py && touch done"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_commands_end_with_the_make_that_started_them(tmp_path, pytestconfig, recipe, how):
    (tmp_path / "command.py").write_text(COMMAND.format(root=str(pytestconfig.rootpath)))
    (tmp_path / "Makefile").write_text("all:\n\t" + recipe.format(python=sys.executable) + "\n")
    # As from a terminal: in the background of a script, where these tests may run, SIGINT is ignored from the start.
    options = {"cwd": tmp_path, "env": as_a_user(), "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(["make"], stdout=PIPE, stderr=PIPE, text=True, **options) as make:
        assert make.stdout.readline() == "begun\n"
        make.send_signal(how)
        _, error = make.communicate(timeout=60)  # until it has closed its end, too; it would sleep on
    assert "interrupted; the same command goes on where it stopped" in error
    assert "Traceback" not in error and not (tmp_path / "done").exists()
