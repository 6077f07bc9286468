"""Running the numbered notebooks headless, safely.

papermill only warns of an unknown parameter, turns integer keys into strings and leaves a half-run notebook
behind under the final name. So only the study's name is passed, and the output is moved into place after
the last cell has run.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, missing_artefacts, possible_notebooks
from analysis_lib.core.project import CHECKOUT, Study

# jsonschema, by which nbformat checks a notebook, would build a grammar of web addresses that no notebook holds: three
# quarters of the time until the first one runs (6 to 8 s with this line, 21 to 27 s without, on a busy machine).
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None is how Python is told so

import nbformat  # noqa: E402


class NotebookError(StudyError, RuntimeError):
    """A notebook failed; the message names it, the cell and the cause."""


def run_notebook(study: Study, name: str) -> None:
    """Execute ``notebooks/<name>.ipynb`` for the study into ``build/<study>/notebooks``."""
    import papermill  # here, because who only reads notebooks need not wait for it
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    params, source = study.params, study.project.notebooks / f"{name}.ipynb"
    if name not in ALL_NOTEBOOKS or not source.is_file():
        raise NotebookError(f"no notebook '{name}'; there are {', '.join(ALL_NOTEBOOKS)}")
    if name not in possible_notebooks(params):
        return  # an analysis that this study leaves out
    if name != "17_validation":
        params.cohort.check_trained()
    check_parameter_cell(source)
    target = study.executed(name)
    # A kernel of the same name in the user's home must not stand in for the study's environment.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    # The kernel starts in notebooks/ and must import this checkout's library, wherever the environment lies.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)  # of a kernel that does not start it prints a traceback
    failed = target.with_name(f"{name}.failed.ipynb")
    print(f"notebook {name} ...", flush=True)
    with replacing(target) as temporary:
        try:
            papermill.execute_notebook(
                str(source), str(temporary), parameters={"study": params.study}, kernel_name="python3",
                cwd=str(source.parent), progress_bar=False, extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            )  # fmt: skip
        except PapermillExecutionError as error:
            os.replace(temporary, failed)
            cause = f"{error.ename}: {error.evalue} (see {study.project.name_of(failed)})"
            raise NotebookError(f"notebook {name}, cell {error.exec_count}: {cause}") from None
        except (RuntimeError, NoSuchKernel, FileNotFoundError, PermissionError) as error:
            killed = isinstance(error, DeadKernelError)
            raise NotebookError(
                f"notebook {name}: its Python process {'ended before its time' if killed else 'did not start'} "
                "(killed, or out of memory?); close other programs, then the same command goes on where it stopped"
                + ("" if killed else "; where it never starts, delete .venv, and make builds the environment anew")
            ) from None
        _without_paths(temporary, name)
        if gone := missing_artefacts(study).get(name):
            raise NotebookError(f"notebook {name} ran but did not write {', '.join(gone)}")
    failed.unlink(missing_ok=True)


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
