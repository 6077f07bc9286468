"""How papermill runs cells here: by IPython, the shell of Jupyter's kernel, in a fork of the command that asks.

A kernel is a second Python that imports every library again and talks over sockets, a second or more for
each notebook. Outputs are those that a kernel would give (``tests/core/test_shell.py`` compares them), and the
same notebooks run in JupyterLab.
"""

from __future__ import annotations

import base64
import io
import platform
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager
from traitlets import Type
from traitlets.config import Config

LANGUAGE = {
    "name": "python",
    "version": platform.python_version(),
    "mimetype": "text/x-python",
    "codemirror_mode": {"name": "ipython", "version": sys.version_info.major},
    "pygments_lexer": f"ipython{sys.version_info.major}",
    "nbconvert_exporter": "python",
    "file_extension": ".py",
}


class Result(DisplayHook):
    """The value of a cell's last line becomes an output of the cell."""

    shell: Any  # a Shell

    def write_output_prompt(self) -> None:
        """No prompt: a notebook draws its own."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Keep the value in all its formats."""
        count = self.prompt_count
        self.shell.keep("execute_result", data=as_text(format_dict), metadata=md_dict or {}, execution_count=count)

    def finish_displayhook(self) -> None:
        """No empty line after it."""
        self._is_active = False


class Displayed(DisplayPublisher):
    """What a cell gives to ``display`` becomes an output of the cell."""

    shell: Any  # a Shell

    def publish(self, data: Any, metadata: Any = None, *_: Any, **__: Any) -> None:
        """Keep it in all its formats."""
        self.shell.keep("display_data", data=as_text(data), metadata=metadata or {})

    def clear_output(self, wait: bool = False) -> None:
        """Drop what the cell gave so far."""
        self.shell.outputs.clear()


class Written(io.TextIOBase):
    """What a cell writes to a stream becomes an output of the cell, in the order of its other outputs."""

    def __init__(self, shell: Shell, name: str) -> None:
        self.shell, self.name = shell, name

    def write(self, text: str) -> int:
        """Keep it, with what was written just before."""
        last = self.shell.outputs[-1] if self.shell.outputs else {}
        if last.get("output_type") == "stream" and last["name"] == self.name:
            last["text"] += text
        elif text:
            self.shell.keep("stream", name=self.name, text=text)
        return len(text)


class Shell(InteractiveShell):
    """IPython that collects a cell's ``outputs`` as a notebook has them, and asks nobody's settings or history."""

    displayhook_class = Type(Result)
    display_pub_class = Type(Displayed)

    def __init__(self, folder: str) -> None:
        self.outputs: list[NotebookNode] = []
        super().__init__(ipython_dir=folder, config=Config(HistoryManager={"enabled": False}))

    def keep(self, kind: str, **content: Any) -> None:
        """Add an output to the cell."""
        self.outputs.append(new_output(kind, **content))

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        self.keep("error", ename=etype.__name__, evalue=str(evalue), traceback=stb)

    def run(self, cell: NotebookNode) -> BaseException | None:
        """Run a cell and give it its outputs; what it raised."""
        self.outputs = []
        with redirect_stdout(Written(self, "stdout")), redirect_stderr(Written(self, "stderr")):
            result = self.run_cell(cell.source, store_history=True)
        cell.execution_count, cell.outputs = result.execution_count, self.outputs
        return result.error_before_exec or result.error_in_exec


class ShellEngine(Engine):
    """Runs the cells in this process, which must be the notebook's own."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **_: Any) -> None:
        """One code cell after the other, until one fails; papermill finds the error among the outputs."""
        sys.modules.pop("__main__")  # the command's; the notebook has its own
        with tempfile.TemporaryDirectory() as folder:
            shell = Shell.instance(folder)  # whom display asks
            for index, cell in enumerate(nb_man.nb.cells):
                nb_man.cell_start(cell, index)
                error = shell.run(cell) if cell.cell_type == "code" and cell.source.strip() else None
                if error is not None:
                    nb_man.cell_exception(cell, index, exception=error)
                nb_man.cell_complete(cell, index)
                if error is not None:
                    break
        nb_man.nb.metadata["language_info"] = LANGUAGE


def as_text(formats: Mapping[str, Any]) -> dict[str, Any]:
    """Formats as a notebook's file holds them: pictures in base64."""
    return {kind: base64.b64encode(d).decode() if isinstance(d, bytes) else d for kind, d in formats.items()}
