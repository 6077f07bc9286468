"""docs/evidence.md: each line has its test and each table its line, and what is off fails."""

import ast
import csv
import json

import numpy as np
import pytest
from evidence import LINES, ROOT, _rows, check, line_of, lines_of_page, recorded, tabled, write_page

PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
GROUPED = lines_of_page(PAGE)
ALL = {name: lines for lines_of_group in GROUPED.values() for name, lines in lines_of_group.items()}


def test_each_line_names_a_test_that_records_it():
    assert ALL and PAGE.count("<a id=") == sum(map(len, ALL.values()))
    for group in GROUPED.values():
        assert list(group) == sorted(group)
    for name, lines in ALL.items():
        assert all(recorded(ROOT, name, line) for line in lines), name
    assert not recorded(ROOT, "another", next(iter(ALL.values()))[0])


def test_each_test_that_records_has_a_line():
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and "evidence" in [argument.arg for argument in node.args.args]:
                assert f"[{node.name}](../{path.relative_to(ROOT).as_posix()}) |" in PAGE, node.name


def test_each_line_is_that_of_its_table():
    tables = {path.stem: path for path in (ROOT / "docs" / "evidence").glob("*.csv")}
    assert tables.keys() == {name for name, lines in ALL.items() if f"(evidence/{name}.csv)" in lines[0]}
    for name, path in tables.items():
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        cells = line_of(name, {"what": "", "source": "", "test": "tests/x.py::test_x"}, rows).split(" | ")
        assert tabled(rows) and ALL[name][0].split(" | ")[2:-1] == cells[2:-1], name


def test_the_readme_cites_the_page():
    assert "`docs/evidence.md`" in (ROOT / "README.md").read_text(encoding="utf-8")


META = {"group": "survival", "what": "a thing", "source": "github.com/a/b", "test": "tests/test_a.py::test_a"}


def rows(theirs, ours, **limits):
    return list(_rows(theirs, ours, limits.get("rtol", 0), limits.get("atol", 0), limits.get("explained", {})))


@pytest.mark.parametrize(
    ("theirs", "ours", "limits", "good"),
    [
        ({"a": 1.0}, {"a": 1.005}, {"atol": 0.005000001}, True),
        ({"a": 1.0}, {"a": 1.006}, {"atol": {"a": 0.005}}, False),
        ({"a": [100.0, 2.0]}, {"a": [101.0, 2.0]}, {"rtol": 0.01}, True),
        ({"a": [100.0, 2.0]}, {"a": [100.0, 2.1]}, {"rtol": 0.01}, False),
        ({"a": [np.nan, np.inf]}, {"a": [np.nan, np.inf]}, {}, True),
        ({"a": 1.0}, {"a": np.nan}, {"atol": 1}, False),
        ({"a": 1.0}, {"a": 2.0}, {"atol": 0.5, "explained": {"a": "another unit"}}, True),
        ({"a": 1.0}, {"a": 1.0}, {"atol": 0.5, "explained": {"a": "another unit"}}, False),
    ],
)
def test_beyond_its_tolerance_a_quantity_fails_and_so_does_an_explanation_without_a_difference(
    theirs, ours, limits, good
):
    assert [as_it_should_be for _, as_it_should_be in rows(theirs, ours, **limits)] == [good]


@pytest.mark.parametrize("many", [2, LINES + 5])
def test_a_page_written_twice_is_the_same_and_a_changed_number_fails(tmp_path, many):
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs").mkdir()
    source = "def test_a(evidence):\n    evidence('thing')\n"
    (tmp_path / "tests" / "test_a.py").write_text(source, encoding="utf-8")
    theirs = {f"q{k}": k / 7 for k in range(many)}
    ours = [row for row, _ in rows(theirs, {name: value + 1e-9 for name, value in theirs.items()}, atol=1e-6)]
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.json").write_text(json.dumps({"name": "thing", "meta": META, "rows": ours}), encoding="utf-8")
    page = tmp_path / "docs" / "evidence.md"
    write_page(kept, tmp_path)
    first = page.read_bytes()
    (kept / "a.json").rename(tmp_path / "a.json")
    write_page(kept, tmp_path)  # a test that was skipped keeps its lines
    assert page.read_bytes() == first and (tmp_path / "docs" / "evidence" / "thing.csv").exists() == (many > LINES)
    check("thing", META, ours, tmp_path)
    check("thing", META, [ours[1] | {"difference": "2e-09", "ours": f"{1 / 7 + 1e-9:.6g}"}, *ours[2:]], tmp_path)
    for changed in ({"ours": "0.15"}, {"values": "2"}, {"quantity": "q"}):
        with pytest.raises(AssertionError, match="make evidence"):
            check("thing", META, [ours[0], ours[1] | changed, *ours[2:]], tmp_path)
    (tmp_path / "tests" / "test_a.py").write_text("def test_a():\n    pass\n", encoding="utf-8")
    write_page(kept, tmp_path)  # one that no longer records loses them
    assert "thing" not in page.read_text(encoding="utf-8")
    assert not list((tmp_path / "docs" / "evidence").glob("*.csv"))
