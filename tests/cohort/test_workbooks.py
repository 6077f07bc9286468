"""Workbooks that are small on disk and large in memory, or broken inside: read at once, or refused in one line."""

import re
import time
import tracemalloc
import zipfile

import openpyxl
import pytest

from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.cohort.table_files import ClinicalTableError

HEADER = ["patient_id", "set", "sex", "os_months", "os_event"]


@pytest.fixture
def workbook(tmp_path):
    """Write a workbook of two patients, changed before it is saved; returns its path."""

    def write(change=lambda sheet: None):
        book = openpyxl.Workbook()
        for row in (HEADER, ["P1", "discovery", "M", 12, 1], ["P2", "discovery", "F", 12, 0]):
            book.active.append(row)
        change(book.active)
        book.save(tmp_path / "patients.xlsx")
        return tmp_path / "patients.xlsx"

    return write


@pytest.mark.parametrize("cell", ["A1048576", "XFD1048576", "XFD5000", "XFD2", "F9"])
def test_a_formatted_empty_cell_far_away_is_no_patient_and_takes_no_time(workbook, cell):
    read_clinical(workbook(), ["discovery"])  # what the first reading imports does not count
    path = workbook(lambda sheet: setattr(sheet[cell], "number_format", "0.00"))
    begun = time.process_time()
    tracemalloc.start()
    good, excluded = read_clinical(path, ["discovery"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert good["patient_id"].tolist() == ["P1", "P2"] and excluded.empty
    assert time.process_time() - begun < 5 and peak < 50e6


def test_a_value_far_below_is_a_row_and_one_far_right_is_told(workbook):
    _, excluded = read_clinical(workbook(lambda sheet: sheet.cell(1_048_576, 1, "P3")), ["discovery"])
    assert excluded["patient_id"].tolist() == ["P3"]
    _, excluded = read_clinical(workbook(lambda sheet: sheet.cell(2, 16_384, "x")), ["discovery"])
    assert excluded["reason"].str.contains("row 2 has more values than the table has columns").tolist() == [True]


def test_a_formula_without_value_in_a_row_of_its_own_is_told(workbook):
    _, excluded = read_clinical(workbook(lambda sheet: sheet.cell(4, 4, "=D3+1")), ["discovery"])
    assert excluded.empty  # nobody stands in that row
    good, excluded = read_clinical(workbook(lambda sheet: sheet.cell(3, 4, "=D2+1")), ["discovery"])
    assert good["patient_id"].tolist() == ["P1"]
    assert "cell D3 is a formula without a saved value" in excluded["reason"].iloc[0]


def rewrite(path, change):
    """Change the parts of a workbook, which is an archive of XML."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


SHEET = "xl/worksheets/sheet1.xml"
BROKEN = {
    "an element without end": lambda parts: parts.update({SHEET: parts[SHEET][:-40]}),
    "a byte that is no text": lambda parts: parts.update({SHEET: parts[SHEET].replace(b"<row", b"\x00<row", 1)}),
    "styles of another kind": lambda parts: parts.update({"xl/styles.xml": b"<a><b></a>"}),
    "a value that is no number": lambda parts: parts.update({SHEET: re.sub(rb"<v>12</v>", b"<v>1e</v>", parts[SHEET])}),
    "a place that is none": lambda parts: parts.update({SHEET: parts[SHEET].replace(b'r="A2"', b'r="?"')}),
    "no sheet": lambda parts: parts.pop(SHEET),
    "no list of sheets": lambda parts: parts.update({"xl/workbook.xml": b""}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_xml_is_refused_in_one_line(workbook, name):
    path = workbook()
    rewrite(path, BROKEN[name])
    with pytest.raises(ClinicalTableError, match=r"patients.xlsx cannot be read as an Excel file") as error:
        read_clinical(path, ["discovery"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", [SHEET, "xl/sharedStrings.xml", "xl/media/picture.png"])
def test_a_workbook_that_unpacks_to_much_is_refused_before_it_is_unpacked(workbook, part):
    path = workbook()
    rewrite(path, lambda parts: parts.update({part: bytes(200_000_000)}))
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    with pytest.raises(ClinicalTableError, match="unpacks to 191 MB, which no table of patients has; copy"):
        read_clinical(path, ["discovery"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
