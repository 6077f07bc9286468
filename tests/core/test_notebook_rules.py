"""What every notebook has in common: one preamble, cells that call, no file by hand, an answer at the end."""

import ast

import nbformat
import pytest

from analysis_lib.core.artefacts import ALL_NOTEBOOKS, is_declared, possible_notebooks
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project

NOTEBOOKS = sorted(Project().notebooks.glob("*.ipynb"))
EXPLORE = "08_explore"
PREAMBLE = "from analysis_lib import open_study\n\ns = open_study(study)\nparams = s.params\nprint(s)"
LONGEST = 11  # statements and imports; a longer cell wants to be a tested function


def code(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_every_notebook_is_declared_and_every_declared_one_is_there():
    assert [path.stem for path in NOTEBOOKS] == sorted([*ALL_NOTEBOOKS, EXPLORE])


def test_one_preamble(notebook):
    assert code(notebook)[1] == PREAMBLE


def test_cells_call_and_define_nothing(notebook):
    for cell in code(notebook):
        assert not [node for node in ast.walk(ast.parse(cell)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert sum(bool(line.strip()) for line in cell.splitlines()) <= LONGEST, cell


def test_no_file_is_read_or_written_by_hand(notebook):
    text = "\n".join(code(notebook))
    for word in ("to_csv", "read_csv", "to_parquet", "read_parquet", "write_text", "savefig", "open("):
        assert word not in text.replace("open_study(", ""), word


@pytest.mark.parametrize("name", ALL_NOTEBOOKS)
def test_it_ends_in_an_answer(name):
    cells = nbformat.read(Project().notebooks / f"{name}.ipynb", as_version=4).cells
    assert cells[-2].source == "## Answer"
    assert f's.answer("{name}", answers.' in cells[-1].source


def test_what_a_notebook_saves_by_name_is_declared_for_it(notebook):
    saved = set()
    for cell in code(notebook):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("save", "draw") and len(node.args) > 1:
                saved.update([node.args[0].value] if isinstance(node.args[0], ast.Constant) else [])
    declared = {file.rpartition(".")[0] for file in ALL_NOTEBOOKS.get(notebook.stem, [])}
    assert saved <= declared
    assert declared - saved <= {"figS2", "figS3"}  # saved in a loop over the external sets


def test_a_name_that_nobody_declared_is_not_saved():
    params = load_params("smoke")
    assert is_declared("fig2", params) and is_declared("power", params) and not is_declared("fig9", params)
    real = params.model_copy(update={"standin": None})
    assert not is_declared("power", real) and "15_multiverse" in possible_notebooks(real)
