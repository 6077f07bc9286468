"""Muscle indices that the clinical table holds already: whether they agree, and whether they are their patients'.

An area, a height and an index say one thing twice, so that columns which were sorted, or moved against the patients,
show: the height that area and index imply is another patient's. Nothing is put back without ``clinical.shifted``.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from analysis_lib.cohort.columns import AREA_OF, MEASURED
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable
from analysis_lib.cohort.whole_columns import repeats

SMALLEST_ERROR = 5e-4  # relative: what rounding of the steps between may leave
SHIFT_SHARE = 0.8  # of the rows that a shift must bring to agreement, to be named as the cause
SHIFT_ROWS = 3  # that it must hold for, on average
NAMED_ROWS = 5
TAKEN = "from the clinical table: "  # begins the note of a patient whose indices it has


def put_back(table: RawTable, shifted: dict[int, int | None]) -> None:
    """Move the cells of the muscle indices to their patients, in place, as ``clinical.shifted`` says."""
    if not shifted:
        return
    names = [name for name in MEASURED if name in table.cells]
    rows = table.cells.index
    starts = sorted(shifted)
    if not names or not set(starts) <= set(rows):
        raise ClinicalTableError(
            "clinical.shifted names a row that the table does not have, or the table has no muscle indices; it is made "
            "for another file"
        )
    at = np.searchsorted(starts, rows, side="right") - 1
    by = [0 if k < 0 else shifted[starts[k]] for k in at]
    block = table.cells[names]
    source = [row if move is None else row + move for row, move in zip(rows, by, strict=True)]
    moved = block.reindex(source).fillna("").set_axis(rows)
    moved[[move is None for move in by]] = ""
    table.cells[names] = moved


def check_agreement(table: RawTable, values: pd.DataFrame) -> None:
    """Complain of single rows whose area, height and index contradict each other; stop where they are more than slips.

    ``values`` in the study's units, ``table`` with their cells. Raises ClinicalTableError with count, rows and cause.
    """
    for index, area in AREA_OF.items():
        ratio = values[area] / values["height_m"] ** 2 / values[index]
        known = ratio.notna()
        allowed = SMALLEST_ERROR + sum(
            factor * _half_digit(table, values, name) for name, factor in ((area, 1), (index, 1), ("height_m", 2))
        )
        wrong = known & ((ratio - 1).abs() > allowed)
        rows = values.index[wrong]
        if repeats(len(rows), int(known.sum())):
            shown = ", ".join(map(str, rows[:NAMED_ROWS])) + (", ..." if len(rows) > NAMED_ROWS else "")
            raise ClinicalTableError(
                f"{index} is not {area} / height_m squared in {len(rows)} of {known.sum()} rows (rows {shown} of the "
                f"table); {_cause(table, values, index, area, ratio, allowed)}"
            )
        for row in rows:
            table.complain(row, f"{index} is not {area} / height_m squared; mend one of the three")


def _half_digit(table: RawTable, values: pd.DataFrame, name: str) -> pd.Series:
    """Relative rounding error (n,) of a column: half a unit of the last digit that any of its cells has."""
    cells = table.cells[name].str.replace(",", ".") if name in table.cells else pd.Series("", values.index)
    digits = cells.map(lambda text: len(text.split(".")[1]) if re.fullmatch(r"-?\d+\.\d+", text) else 0).max()
    written = pd.to_numeric(cells, errors="coerce")
    return 0.5 * 10.0**-digits / written.where(written > 0)


def _cause(table: RawTable, values: pd.DataFrame, index: str, area: str, ratio: pd.Series, allowed: pd.Series) -> str:
    """The likely cause of a contradiction in many rows, and what to do."""
    names = [name for name in MEASURED if name in table.cells]
    blocks = shifts(values["height_m"], (values[area] / values[index]) ** 0.5, allowed)
    agree = sum(size for _, _, size in blocks)
    known = int(ratio.notna().sum())
    if agree >= max(SHIFT_SHARE * known, SHIFT_ROWS * len(blocks)):
        stated, lost = stated_shifts(blocks, values.index)
        listed = ", ".join(f"{row}: {'null' if by is None else by}" for row, by in stated.items())
        gone = f", and {lost} patients have none left" if lost else ""
        return (
            f"the columns {', '.join(names)} stand shifted against the patients. By the heights that area and index "
            f"imply, clinical.shifted: {{{listed}}} makes {agree} of {known - lost} rows agree "
            f"({agree / (known - lost):.0%}){gone}. Nothing is guessed: take the columns anew from where they were "
            "measured, or state this line if that is what happened to the file (docs/own_data.md)"
        )
    k = float(ratio.median())
    if ((ratio / k - 1).abs() <= allowed)[ratio.notna()].mean() >= SHIFT_SHARE:
        return (
            f"it is {k:.4g} times that in nearly all: another unit, another height, or a corrected area; mend the "
            "column, or map one of the two alone"
        )
    height = values["height_m"]
    if ((ratio * height - 1).abs() <= allowed)[ratio.notna()].mean() >= SHIFT_SHARE:
        return f"it is {area} / height_m, not squared; map {area} alone"
    return (
        "no shift of rows, unit or factor explains it, so the columns may be sorted apart from the patients, or of "
        "other heights; take them anew, or map one of the two alone if you know that it is right"
    )


def shifts(height: pd.Series, implied: pd.Series, allowed: pd.Series) -> list[tuple[int, int, int]]:
    """Blocks of rows whose implied heights are those of the patients in the same order, perhaps elsewhere.

    (n,) metres each, and relative error of the ratio (twice that of a height). Returns (place of the first patient,
    place of its indices, rows) in order, places from 0, by longest common blocks as difflib finds them.
    """
    known = np.sort(height.dropna().unique())
    if not len(known) or implied.isna().all():
        return []
    filled = implied.fillna(0).to_numpy()
    right = np.clip(np.searchsorted(known, filled), 1, len(known) - 1) if len(known) > 1 else np.zeros(len(filled), int)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(known[left] - filled) <= np.abs(known[right] - filled), left, right)
    close = np.abs(known[nearest] / np.where(filled > 0, filled, np.nan) - 1) <= allowed.fillna(0) / 2
    theirs = [int(k) if ok else -1 for k, ok in zip(nearest, close, strict=True)]
    ours = [int(np.searchsorted(known, h)) if h == h else -2 for h in height]
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    return [(b.a, b.b, b.size) for b in matcher.get_matching_blocks() if b.size]


def stated_shifts(blocks: list[tuple[int, int, int]], rows: pd.Index) -> tuple[dict[int, int | None], int]:
    """The blocks as ``clinical.shifted`` has them, by the rows of the file, and how many patients have no indices.

    Rows between two blocks of one shift are slips within it.
    """
    stated: dict[int, int | None] = {}
    end = lost = 0
    before: int | None = None
    for ours, theirs, size in [*blocks, (len(rows), -1, 0)]:
        by = int(rows[theirs] - rows[ours]) if size else None
        if ours > end and (by is None or by != before):
            stated[int(rows[end])], lost, before = None, lost + ours - end, None
        if by is not None and by != before:
            stated[int(rows[ours])] = before = by
        end = ours + size
    return stated, lost


def from_table(clinical: pd.DataFrame) -> pd.DataFrame:
    """The muscle indices that the table gives, by patient_id: the columns of ``MEASURED`` that anyone has.

    An area follows from index and height where it is not given.
    """
    table = clinical.set_index("patient_id")
    given = table[list(MEASURED)].astype(float)
    for index, area in AREA_OF.items():
        given[area] = given[area].fillna(given[index] * table["height_m"] ** 2)
    return given.dropna(axis="columns", how="all")


def taken_from_table(patients: pd.DataFrame) -> list[str]:
    """Which indices of the measured patients are the clinical table's, by their notes; none where all were measured."""
    note = patients["ct_notes"].iloc[0] if len(patients) else ""
    return note.removeprefix(TAKEN).split("; ")[0].split(", ") if note.startswith(TAKEN) else []
