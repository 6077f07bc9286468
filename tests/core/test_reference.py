"""Generated pages are up to date, and every parameter is documented and used."""

import re
from pathlib import Path

import pytest

from analysis_lib.ui.reference import PAGES, parameter_rows

ROOT = Path(__file__).resolve().parents[2]
# Kept in the file for the reader of the run and written into its records and tables, never computed with.
FOR_READERS = {"definitions.<name>.doi", "images.sm.hu_window.source", "images.pm.hu_window.source"}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_is_up_to_date(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def _code() -> str:
    """The library and the notebooks, without the lines that declare parameters."""
    files = [p for folder in ("analysis_lib", "notebooks") for p in (ROOT / folder).rglob("*.*")]
    texts = [p.read_text(encoding="utf-8") for p in files if p.suffix in (".py", ".ipynb")]
    declaration = re.compile(r"^ {4}\w+: .*(?:Field\(|= None|\]$|\|).*$", flags=re.MULTILINE)
    return "\n".join(declaration.sub("", text) for text in texts)


def test_every_parameter_is_documented_and_used():
    code = _code()
    unused, undocumented = [], []
    for path, _, _, text in parameter_rows():
        name = path.split(".")[-1]
        if not text:
            undocumented.append(path)
        # read as an attribute, or under its name from a section taken as a whole
        if path not in FOR_READERS and name != "<name>" and not re.search(rf"\.{name}\b|\"{name}\"", code):
            unused.append(path)
    assert undocumented == [], "parameters without a description"
    assert unused == [], "parameters that nothing reads"
