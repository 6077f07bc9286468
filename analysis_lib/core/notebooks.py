"""Running the numbered notebooks headless, safely.

papermill only warns of an unknown parameter, turns integer keys into strings and leaves a half-run notebook
behind under the final name. So only the study's name is passed, and the output is moved into place after
the last cell has run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, missing_artefacts, possible_notebooks
from analysis_lib.core.project import Study

# jsonschema, by which nbformat checks a notebook, would build a grammar of web addresses that no notebook holds: three
# quarters of the time until the first one runs (6 to 8 s with this line, 21 to 27 s without, on a busy machine).
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None is how Python is told so

import nbformat  # noqa: E402


class NotebookError(StudyError, RuntimeError):
    """A notebook failed; the message names it, the cell and the cause."""


def run_notebook(study: Study, name: str) -> None:
    """Execute ``notebooks/<name>.ipynb`` for the study into ``build/<study>/notebooks``."""
    params, source = study.params, study.project.notebooks / f"{name}.ipynb"
    if name not in ALL_NOTEBOOKS or not source.is_file():
        raise NotebookError(f"no notebook '{name}'; there are {', '.join(ALL_NOTEBOOKS)}")
    if name not in possible_notebooks(params):
        return  # an analysis that this study leaves out
    if name != "17_validation":
        params.cohort.check_trained()
    check_parameter_cell(source)
    target = study.executed(name)
    failed = target.with_name(f"{name}.failed.ipynb")
    print(f"notebook {name} ...", flush=True)
    with replacing(target) as temporary:
        error = _run_cells(source, temporary, params.study)
        if error is not None:
            os.replace(temporary, failed)
            cause = f"{error.ename}: {error.evalue} (see {study.project.name_of(failed)})"
            raise NotebookError(f"notebook {name}, cell {error.exec_count}: {cause}")
        _without_paths(temporary, name)
        if gone := missing_artefacts(study).get(name):
            raise NotebookError(f"notebook {name} ran but did not write {', '.join(gone)}")
    failed.unlink(missing_ok=True)


class Failed(NamedTuple):
    """The cell that failed, and why."""

    exec_count: int
    ename: str
    evalue: str


def _run_cells(source: Path, output: Path, study: str) -> Failed | None:
    """Run a notebook in a fork of this process, so that its memory, settings and sudden death are its own.

    Returns the cell that failed. NotebookError where the fork died; what it met writing the notebook is raised here.
    """
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_cells_of, args=(source, output, study, os.getpid(), sending))
    process.start()
    sending.close()
    try:
        met = receiving.recv()
    except EOFError:
        raise NotebookError(
            f"notebook {source.stem}: its Python process ended before its time (killed, or out of memory?); close "
            "other programs, then the same command goes on where it stopped"
        ) from None
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        process.join()
    if isinstance(met, OSError):
        raise met
    return met


def _cells_of(source: Path, output: Path, study: str, command: int, sending: Connection) -> None:
    """In the fork: run the cells, and send what was met (``Failed``, an OSError or None)."""
    import papermill
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from analysis_lib.core.shell import ShellEngine

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(command,), daemon=True).start()
    papermill_engines.register("shell", ShellEngine)
    met: Failed | OSError | None = None
    try:
        papermill.execute_notebook(
            source, output, parameters={"study": study}, engine_name="shell", kernel_name="python3",
            cwd=source.parent, progress_bar=False,
        )  # fmt: skip
    except PapermillExecutionError as error:
        met = Failed(error.exec_count, error.ename, error.evalue)
    except OSError as error:  # a full disk
        met = error
    sending.send(met)


def _end_with(command: int) -> None:
    """End this process when the one that forked it is gone."""
    while os.getppid() == command:
        time.sleep(1)
    os._exit(1)


def _without_paths(path: Path, name: str) -> None:
    """Put names for the absolute paths that papermill notes: an executed notebook is passed on to others."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.papermill.update(input_path=f"notebooks/{name}.ipynb", output_path=f"{name}.ipynb")
    nbformat.write(notebook, path)


def check_parameter_cell(path: Path) -> None:
    """Refuse a notebook whose cell tagged ``parameters`` is missing or sets anything but ``study``."""
    notebook = nbformat.read(path, as_version=4)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    lines = [
        line.split("#")[0].strip()
        for cell in tagged
        for line in cell.source.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(tagged) != 1 or len(lines) != 1 or not lines[0].startswith("study ="):
        raise NotebookError(f"{path.name} must have one cell tagged 'parameters' that sets study and nothing else")
