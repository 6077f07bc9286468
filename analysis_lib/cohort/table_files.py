"""Clinical tables as sites have them (CSV, Excel, Parquet), read as text without interpretation.

Messages never repeat a cell or an unknown heading: in a table that lost its header, the heading is a patient.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import LARGEST_WORKBOOK, unpacked_size
from analysis_lib.core.clinical_params import ClinicalParams

BLANKS = " \t\r\n\u00a0\u2007\u202f\u200b\ufeff"  # with no-break spaces and what web pages leave behind
MAX_EXACT = 2**53  # beyond it a float has lost digits
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # container of .xls and of encrypted files
FORMULA = "formula without a saved value; open the file in Excel and save it"


class ClinicalTableError(StudyError, ValueError):
    """The table as a whole cannot be used; the message says why and what to do."""


@dataclass
class RawTable:
    """Cells as trimmed text, index the row number in the file, and what was wrong with a row already."""

    cells: pd.DataFrame
    complaints: dict[int, list[str]] = field(default_factory=dict)
    date_columns: set[str] = field(default_factory=set)  # real dates, given as YYYY-MM-DD
    doubts: list[str] = field(default_factory=list)  # of the whole table, which stop nothing
    shifted: pd.DataFrame | None = None  # cells of the muscle indices as the file has them, where they were put back

    def complain(self, row: int, text: str) -> None:
        """Note what is wrong in a row (its position), for the exclusions."""
        self.complaints.setdefault(row, []).append(text)


def fold(name: str) -> str:
    """A heading without case, blanks and hyphens as underscores, letters composed that a Mac writes in two."""
    return re.sub(r"[\s\u00a0-]+", "_", unicodedata.normalize("NFC", name.strip(BLANKS))).casefold()


def read_table(path: Path, settings: ClinicalParams, key: Callable[[str], str] = fold) -> RawTable:
    """Read a table by its suffix; no two of its headings may have one ``key``.

    Raises ClinicalTableError with one line that says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise ClinicalTableError(
            f"clinical table {path.parent.name}/{path.name} not found; put it there or name it in clinical.file "
            "(a study that names another study's data_dir needs that study to be run first)"
        )
    readers = {".csv": _csv, ".tsv": _csv, ".txt": _csv, ".xlsx": _xlsx, ".xlsm": _xlsx, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise ClinicalTableError(f"{path.name} is no table that can be read; save it as CSV (UTF-8), .xlsx or Parquet")
    try:
        rows, complaints, dates = readers[path.suffix.lower()](path, settings)
    except PermissionError:
        raise ClinicalTableError(f"{path.name} may not be read; allow this user to read it") from None
    numbered = [(n, [_trim(cell) for cell in row]) for n, row in rows]
    numbered = [(n, row) for n, row in numbered if any(row)]  # blank rows hold nobody
    if not numbered:
        raise ClinicalTableError(f"{path.name} is empty; the first row must name the columns")
    header = numbered[0][1]
    used = [k for k, name in enumerate(header) if name]
    if any(row[k] for _, row in numbered[1:] for k in range(min(len(row), len(header))) if not header[k]):
        raise ClinicalTableError(
            f"{path.name} has a column without a heading; name it or delete it (the first row must name the columns)"
        )
    if len(numbered) == 1:
        raise ClinicalTableError(f"{path.name} has no patients, only the row of column names")
    names = [header[k] for k in used]
    folded = [key(name) for name in names]
    for k, name in enumerate(folded):
        if name in folded[:k]:
            raise ClinicalTableError(f"{path.name} has the heading of column {used[k] + 1} twice; rename or delete one")
    table = RawTable(pd.DataFrame([[_at(row, k) for k in used] for _, row in numbered[1:]], dtype=object))
    table.cells.columns = names
    table.cells.index = pd.Index([n for n, _ in numbered[1:]])
    for n, text in complaints:
        if n in table.cells.index:
            table.complain(n, text)
    if path.suffix.lower() in (".csv", ".tsv", ".txt") and path.read_bytes()[-1:] not in b"\r\n\0":
        table.doubts.append(f"{path.name} ends within a row, as a file that was cut short: are all patients in it?")
    table.date_columns = {header[k] for k in dates if k < len(header)}
    for n, row in numbered[1:]:
        if any(row[len(header) :]):
            table.complain(n, f"row {n} has more values than the table has columns (an unquoted comma?); mend the row")
    return table


def _trim(cell: str) -> str:
    return cell.strip(BLANKS)


def _at(row: list[str], k: int) -> str:
    return row[k] if k < len(row) else ""


def _csv(path: Path, settings: ClinicalParams):
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in settings.encoding:
        raise ClinicalTableError(f"{path.name} is UTF-16; save it as 'CSV UTF-8' or set clinical.encoding: utf-16")
    try:
        name = codecs.lookup(settings.encoding).name
        text = data.decode("utf-8-sig" if name == "utf-8" else name)
    except LookupError:
        raise ClinicalTableError("clinical.encoding is unknown; usual ones are utf-8 and cp1252") from None
    except UnicodeDecodeError:
        raise ClinicalTableError(
            f"{path.name} cannot be read as {settings.encoding}; save it as 'CSV UTF-8', or set clinical.encoding "
            "(older Excel writes cp1252)"
        ) from None
    if "\0" in text:
        raise ClinicalTableError(f"{path.name} holds null characters and is no text; export the table again")
    separator = {"tab": "\t"}.get(settings.separator, settings.separator)
    # Excel writes and reads a first line that names the separator.
    if said := re.match(r"sep=([,;\t])\r?\n", text):
        separator = said[1] if separator == "auto" else separator
        text = text[len(said[0]) - 1 :]  # an empty line in its place: rows keep their numbers
    if separator == "auto":
        first = next((line for line in text.splitlines() if line.strip(BLANKS)), "")
        separator = max(",;\t", key=first.count)
    csv.field_size_limit(1_000_000)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, complaints, start = [], [], 1
    try:
        for row in reader:
            rows.append((start, row))
            if reader.line_num > start:
                complaints.append((start, f"a value of row {start} runs over several lines; check its quotes"))
            start = reader.line_num + 1
    except csv.Error:
        raise ClinicalTableError(
            f"{path.name} cannot be read as CSV: a quote that begins in row {start} does not end; mend it"
        ) from None
    filled = [(n, row) for n, row in rows if any(cell.strip(BLANKS) for cell in row)]
    width = len(filled[0][1]) if filled else 0
    for n, row in filled[1:]:
        if len(row) < width:
            complaints.append((n, f"row {n} has {len(row)} values and the table {width} columns; mend the row"))
    return rows, complaints, set()


def _xlsx(path: Path, settings: ClinicalParams):
    with path.open("rb") as stream:
        if stream.read(len(OLD_EXCEL)) == OLD_EXCEL:
            raise ClinicalTableError(
                f"{path.name} is protected by a password or an old .xls; save it as .xlsx without a password"
            )
    import openpyxl  # here, because every notebook loads this module and none reads a workbook

    try:
        if (unpacked := unpacked_size(path)) > LARGEST_WORKBOOK:
            raise ClinicalTableError(
                f"{path.name} unpacks to {unpacked / 2**20:.0f} MB, which no table of patients has; copy the table "
                "alone into a new workbook"
            )
        content = path.read_bytes()  # openpyxl leaves a file open that it cannot read
        values, formulas = (openpyxl.load_workbook(io.BytesIO(content), data_only=only) for only in (True, False))
        first = values.worksheets[0].title
    except (ClinicalTableError, PermissionError, MemoryError):
        raise
    except Exception:  # whatever a damaged archive, or XML in it, makes openpyxl raise
        raise ClinicalTableError(f"{path.name} cannot be read as an Excel file (damaged?); save it again") from None
    filled = [sheet.title for sheet in values.worksheets if any(cell.value for cell in _cells(sheet).values())]
    if settings.sheet is None and len(filled) > 1:
        raise ClinicalTableError(f"{path.name} has {len(filled)} filled sheets; name the right one in clinical.sheet")
    title = settings.sheet or (filled[0] if filled else first)
    if title not in [sheet.title for sheet in values.worksheets]:
        raise ClinicalTableError(f"{path.name} has no sheet '{title}'; mend clinical.sheet")
    sheet, with_formulas = values[title], formulas[title]
    if merged := sorted(str(area) for area in sheet.merged_cells.ranges):
        raise ClinicalTableError(f"{path.name} has merged cells ({', '.join(merged[:3])}); unmerge them and fill each")
    texts: dict[int, dict[int, str]] = {}
    complaints, dates = [], set()
    known = _cells(sheet)
    for place, formula in sorted(_cells(with_formulas).items()):
        row, column = place
        cell = known.get(place)
        if cell is None:
            if formula.data_type == "f":
                complaints.append((row, f"cell {formula.coordinate} is a {FORMULA}"))
                texts.setdefault(row, {})
            continue
        if cell.data_type == "e":
            complaints.append((row, f"cell {cell.coordinate} holds an Excel error; mend its formula"))
        elif isinstance(cell.value, float) and abs(cell.value) >= MAX_EXACT:
            complaints.append((row, f"cell {cell.coordinate} has lost digits; format the column as text"))
        if isinstance(cell.value, dt.date):
            dates.add(column - 1)
        texts.setdefault(row, {})[column] = _excel_text(cell)
    rows = [(row, [by.get(k + 1, "") for k in range(max(by, default=0))]) for row, by in texts.items()]
    return rows, complaints, dates


def _cells(sheet) -> dict[tuple[int, int], Any]:
    """The cells with a value, by row and column from 1.

    Those that are only formatted do not count: openpyxl's own loops make every cell up to the last of them, and that
    may be the last of a million rows.
    """
    return {place: cell for place, cell in sheet._cells.items() if cell.value is not None}


def _excel_text(cell) -> str:
    if isinstance(cell.value, int | float) and not isinstance(cell.value, bool):
        zeros = cell.number_format or ""
        if set(zeros) == {"0"} and float(cell.value).is_integer():
            return f"{int(cell.value):0{len(zeros)}d}"  # leading zeros of an identifier are in the format
    return _text(cell.value)


def _text(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, dt.datetime | dt.date):
        return value.strftime("%Y-%m-%d")
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT else repr(value)
    return str(value)


def _parquet(path: Path, settings: ClinicalParams):
    try:
        frame = pd.read_parquet(path)
    except Exception:  # pyarrow has no common error; its messages may hold cells
        raise ClinicalTableError(f"{path.name} cannot be read as Parquet (damaged?); write it again") from None
    dates = set()
    rows = [(1, [str(name) for name in frame.columns])]
    for n, row in enumerate(frame.astype(object).itertuples(index=False, name=None), start=2):
        dates |= {k for k, value in enumerate(row) if isinstance(value, dt.date) and not pd.isna(value)}
        plain = [value.item() if hasattr(value, "item") and not isinstance(value, dt.date) else value for value in row]
        rows.append((n, [_text(value) for value in plain]))
    return rows, [], dates
