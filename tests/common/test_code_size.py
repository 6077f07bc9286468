"""Functions that can be read at one look, and engines that can be read in a day."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "analysis_lib"
LONGEST = 80  # lines of a function
# Longer, each for a reason: what is compiled or drawn as one, or one text from top to bottom.
LONGER = {
    "coxnet/deepsurv.py: _trainer": "one compiled training graph, its steps closures of the same tensors",
    "coxnet/joint.py: _trainer": "the same for AutoEncoder and network as one",
    "review/methods.py: methods": "one text, the methods section",
    "standin/anatomy.py: _attempt": "one drawing, layer upon layer",
    "standin/dicom.py: _slice": "one DICOM header, in the order of its modules",
    "standin/organs.py: draw_viscera": "one drawing, organ after organ",
}
# Lines of an engine, and of all rooms of the study, documentation included.
ENGINES = {"ct": 4180, "radiomics": 2930, "survival": 3170, "coxnet": 2970, "standin": 2245}
STUDY, STUDY_LINES = ("core", "cohort", "stages", "results", "figures", "review", "ui"), 19_920


def test_no_function_is_too_long_to_read():
    found = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST:
                found.add(f"{path.relative_to(LIBRARY).as_posix()}: {node.name}")
    assert found == set(LONGER)  # no other, and none that has become short


def lines_of(room: str) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (LIBRARY / room).glob("*.py"))


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_stays_small(name):
    assert lines_of(name) <= ENGINES[name]


def test_the_study_stays_small():
    assert sum(map(lines_of, STUDY)) <= STUDY_LINES
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {*STUDY, *ENGINES, "common"}
