"""Cells by IPython in this process give the outputs that a kernel of Jupyter gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
CELLS = [
    "study = 'smoke'",
    "import sys\nprint('one')\nprint('two')\nprint('three', file=sys.stderr)",
    "from IPython.display import HTML, Image, Markdown, display",
    "print('before')\ndisplay(HTML('<b>x</b>'))\nprint('after')",
    "import pandas as pd\ntable = pd.DataFrame({'a': [1, 2.5], 'b': ['x', None]})\ntable",
    "table;",
    "None",
    "Image(open('dot.png', 'rb').read(), alt='a dot')",
    "display(Markdown('*a*'), metadata={'text/markdown': {'x': 1}})\n_",
    "class Both:\n    def _repr_html_(self): return '<i>both</i>'\n    def __repr__(self): return 'both'\nBoth()",
    "def total(n):\n    return sum(range(n))\nimport pickle\npickle.loads(pickle.dumps(total))(4)",
    "",
    "__name__, study",
    "import asyncio\nawait asyncio.sleep(0)\n1",
    "import os\nos.path.basename(os.getcwd())",
]
ENDS = {"a name": "nothing_of_this_name", "syntax": "1 +", "an exit": "raise SystemExit(3)", "its own": "1 / 0"}
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738"
    "550000000049454e44ae426082"
)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
RUN = """
import analysis_lib, papermill
from papermill.engines import papermill_engines
from analysis_lib.core.shell import ShellEngine
papermill_engines.register("shell", ShellEngine)
engine = {"engine_name": "shell", "kernel_name": "python3", "progress_bar": False}
papermill.execute_notebook("given.ipynb", "made.ipynb", {"study": "smoke"}, **engine)
"""


def written(folder: Path, cells: list[str]) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in cells]
    cells[0].metadata["tags"] = ["parameters"]
    cells.insert(1, nbformat.v4.new_markdown_cell("Words."))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, folder / "given.ipynb")
    (folder / "dot.png").write_bytes(DOT)
    return notebook


def by_shell(folder: Path) -> nbformat.NotebookNode:
    """As papermill leaves it; the shell replaces the main module, so in a process of its own, and with no home."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder / "home"), "IPYTHONDIR": ""}
    subprocess.run([sys.executable, "-c", RUN], cwd=folder, env=environment, capture_output=True)
    return nbformat.read(folder / "made.ipynb", as_version=4)


def plain(output: dict) -> dict:
    """Without colours, and without where in memory."""
    return json.loads(re.sub(r"\\u001b\[[0-9;]*m|0x[0-9a-f]+", "", json.dumps(output)))


def test_outputs_are_those_of_a_kernel(tmp_path):
    notebook = written(tmp_path, CELLS)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, kernel_name="python3").execute()
    made = by_shell(tmp_path)
    nbformat.validate(made)
    code = [[cell for cell in one.cells if cell.cell_type == "code"] for one in (notebook, made)]
    assert [c.source for c in code[1]] == [
        *CELLS[:1],
        code[1][1].source,
        *CELLS[1:],
    ]  # papermill's parameters
    del code[1][1]
    for kernel, shell in zip(*code, strict=True):
        assert [plain(o) | {"execution_count": 0} for o in shell.outputs] == [
            plain(o) | {"execution_count": 0} for o in kernel.outputs
        ], kernel.source
    counted = [c.execution_count for c in code[1] if c.source]
    assert counted == sorted(counted) and counted[0] == 1
    assert made.metadata.language_info == notebook.metadata.language_info
    assert not (tmp_path / "home").exists()  # nobody's settings, and none made


@pytest.mark.parametrize("kind", ENDS)
def test_the_cell_that_fails_is_the_last(tmp_path, kind):
    written(tmp_path, [CELLS[0], ENDS[kind], "print('not reached')"])
    made = by_shell(tmp_path)
    failed, after = [cell for cell in made.cells if cell.cell_type == "code"][-2:]
    error = next(output for output in failed.outputs if output.output_type == "error")
    assert after.outputs == []
    assert error.ename == {"syntax": "SyntaxError", "a name": "NameError", "an exit": "SystemExit"}.get(
        kind, "ZeroDivisionError"
    )
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute.raise_for_execution_errors(made, str(tmp_path / "made.ipynb"))
