"""One process of make that has the libraries loaded and forks itself for each command, which then starts at once.

A command takes seconds to import NumPy, pandas, matplotlib and SciPy, and a what-if is twenty commands. make names a
socket in the variable WARM; the first command starts the process behind it, the others hand it their arguments, folder,
environment and terminal, and wait for their end. Each command is a fork of its own that fails, or is killed, by itself.
The process has no thread of its own and never runs any of the study's code, so nothing can be lost in a fork. Where
anything is not as it should be (no process yet, other code on the disk), a command runs as it would without;
``make study WARM=`` does without altogether. The process ends with make.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from analysis_lib.common.code import NAME, code_of_modules
from analysis_lib.common.files import is_running

VARIABLE = "WARM"  # a path relative to the working directory, which ends in -<process of make>
COMMAND = "analysis_lib.ui.command_line"
# Loaded in this order while commands come in; no TensorFlow, whose threads do not outlive a fork.
PRELOADED = (
    # the notebooks before the shell: they see to it that nbformat loads quickly
    *(COMMAND, "analysis_lib.core.notebooks", "analysis_lib.core.shell", "analysis_lib.ui.notebook"),
    *("matplotlib.backends.backend_agg", "analysis_lib.figures.drawn", "analysis_lib.figures.kaplan_meier"),
    *("analysis_lib.results.table2_extended", "lifelines.statistics", "analysis_lib.results.added_value"),
    *("matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "analysis_lib.results.discrimination"),
    *("analysis_lib.figures.curves", "analysis_lib.figures.tables", "analysis_lib.results.splines"),
    *("analysis_lib.review.record", "pandera.pandas", "analysis_lib.stages.measure", "analysis_lib.stages.features"),
)
LIBRARY = Path(__file__).parents[1]
ENDS = 137  # what a shell says of a command that was killed


# ---- a command ---------------------------------------------------------------------------------------------


def run_warm(arguments: Sequence[str], look_after: Callable[[], None] = lambda: None) -> int | None:
    """Exit status of the command run by the process behind WARM; None where it must run here.

    ``look_after`` interrupts this process with its make; the command is then interrupted, too.
    """
    name = os.environ.pop(VARIABLE, "")
    if not name or not hasattr(socket, "send_fds"):
        return None
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(name)
        request = {"arguments": list(arguments), "folder": os.getcwd(), "environment": dict(os.environ)}
        content = json.dumps(request).encode()
        socket.send_fds(link, [len(content).to_bytes(8, "big")], [0, 1, 2])
        link.sendall(content)
        if link.recv(1) != b"y":
            return None
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):  # of a process that was killed
            Path(name).unlink(missing_ok=True)
        _start(name)
        return None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: link.sendall(bytes([number])))
    look_after()
    with suppress(ConnectionError):
        if status := link.recv(1):
            return status[0]
    print("error: the process ended before its time (killed, or out of memory?)", file=sys.stderr)
    return ENDS


def _start(name: str) -> None:
    """Start the process behind the socket, for the commands to come."""
    if Path(name).exists():  # it is there, and too busy to answer
        return
    nowhere: Any = subprocess.DEVNULL
    command = [sys.executable, "-W", "ignore", "-c", f"import analysis_lib.common.warm as w; w.serve({name!r})"]
    subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)


# ---- the process behind the socket -------------------------------------------------------------------------


def serve(name: str, preloaded: Sequence[str] = PRELOADED) -> None:
    """Load the libraries, and fork for the commands as they come, until the make that the name tells has ended."""
    waiting = list(preloaded)
    code = _code_on_disk()
    import_module(waiting.pop(0))
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    for left in Path(name).parent.glob(f"{Path(name).name.rpartition('-')[0]}-*"):  # by those that were killed
        if not is_running(int(left.name.rpartition("-")[2])):
            left.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(name)
        except OSError:
            return  # another was faster
        try:
            listener.listen(64)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a command is waited for by its connection alone
            link = _next_command(listener, int(name.rpartition("-")[2]), code, waiting)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    if link is None:
        Path(name).unlink(missing_ok=True)
    else:
        _command(link)


def _next_command(listener: socket.socket, make: int, code: list, waiting: list[str]) -> socket.socket | None:
    """In each fork the connection of its command; None in the process itself, at its end."""
    while is_running(make):
        listener.settimeout(0 if waiting else 1)
        try:
            link, _ = listener.accept()
        except (TimeoutError, BlockingIOError):
            if waiting:
                import_module(waiting.pop(0))
                if not waiting:
                    code_of_modules(*_modules())  # which each command asks for what it uses
            continue
        if _code_on_disk() != code:
            link.close()
            return None
        link.settimeout(None)
        gc.freeze()  # what is loaded is no fork's to look through, which would copy it
        if os.fork() == 0:
            return link
        link.close()
    return None


def _modules() -> list[str]:
    """All of the library."""
    paths = (path.relative_to(LIBRARY).with_suffix("") for path in sorted(LIBRARY.rglob("*.py")))
    return [".".join([NAME, *path.parts]).removesuffix(".__init__") for path in paths]


def _code_on_disk() -> list:
    """What tells that the library is another than was loaded."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in LIBRARY.rglob("*.py"))


# ---- a fork of it ------------------------------------------------------------------------------------------


def _command(link: socket.socket) -> NoReturn:
    """Become the command that the other end of ``link`` asks for, run it, and tell its exit status at the very end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    head, files, *_ = socket.recv_fds(link, 8, 3)
    size, content = int.from_bytes(head, "big"), b""
    while len(content) < size:
        if not (part := link.recv(size - len(content))):
            os._exit(1)
        content += part
    request = json.loads(content)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    # standard streams of this terminal or log, not of nowhere
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    arguments, status = request["arguments"], [1]
    link.sendall(b"y")
    told = threading.Event()
    atexit.register(_tell, link, status, told)  # which runs after what the command registers
    threading.Thread(target=_obey, args=(link, told), daemon=True).start()
    command: Any = import_module(COMMAND)
    command.STARTED = time.monotonic()
    try:
        status[0] = command.main(arguments)
    except SystemExit as end:
        status[0] = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    os._exit(status[0])  # to take down all that was loaded would take longer than many a command


def _tell(link: socket.socket, status: list[int], told: threading.Event) -> None:
    told.set()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    with suppress(OSError):
        link.sendall(bytes([status[0]]))


def _obey(link: socket.socket, told: threading.Event) -> None:
    """Take the signals that the command's process gets; its end, before it was told the status, is an interrupt."""
    with suppress(OSError):
        while number := link.recv(1):
            os.kill(os.getpid(), number[0])
    if not told.is_set():
        os.kill(os.getpid(), signal.SIGINT)
