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
SHARE = 0.8  # of the rows that must agree by a shift, or by another rule, to name it as the cause
MENDED_SHARE = 0.5  # of the contradictions that it must mend
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
    table.cells[names], table.shifted = moved, block


def check_agreement(table: RawTable, values: pd.DataFrame) -> None:
    """Complain of single rows whose area, height and index contradict each other; stop where they are more than slips.

    ``values`` in the study's units, ``table`` with their cells. Raises ClinicalTableError with count, rows and cause.
    Where the cells were put back, a doubt says what speaks for it.
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
        if table.shifted is not None and known.any():
            table.doubts.append(_evidence(table, values, index, area, ratio, allowed))


def _evidence(
    table: RawTable, values: pd.DataFrame, index: str, area: str, ratio: pd.Series, allowed: pd.Series
) -> str:
    """What speaks for ``clinical.shifted``: agreement, and the correlation with a BMI that knows nothing of it."""

    def numbers(cells: pd.DataFrame, name: str) -> pd.Series:
        return pd.to_numeric(cells[name].str.replace(",", "."), errors="coerce")

    # A ratio of columns of one table, so that their units cancel.
    here, there = (numbers(cells, area) / numbers(cells, index) for cells in (table.cells, table.shifted))
    printed = there * (ratio * values["height_m"] ** 2 / here).median() / values["height_m"] ** 2
    texts = []
    for of, smi in ((ratio, numbers(table.cells, index)), (printed, numbers(table.shifted, index))):
        agree, known = int(((of - 1).abs() <= allowed.fillna(allowed.max())).sum()), int(of.notna().sum())
        bmi = f", and its correlation with bmi is {smi.corr(values['bmi']):.2f}" if values["bmi"].notna().any() else ""
        texts.append(f"{index} is {area} / height_m squared in {agree} of {known} rows{bmi}")
    return f"clinical.shifted moved the muscle indices: now {texts[0]}; as the file has them, {texts[1]}"


def _half_digit(table: RawTable, values: pd.DataFrame, name: str) -> pd.Series:
    """Relative rounding error (n,) of a column: half a unit of the last digit that any of its cells has."""
    cells = table.cells[name].str.replace(",", ".") if name in table.cells else pd.Series("", values.index)
    digits = cells.map(lambda text: len(text.split(".")[1]) if re.fullmatch(r"-?\d+\.\d+", text) else 0).max()
    written = pd.to_numeric(cells, errors="coerce")
    return 0.5 * 10.0**-digits / written.where(written > 0)


def _cause(table: RawTable, values: pd.DataFrame, index: str, area: str, ratio: pd.Series, allowed: pd.Series) -> str:
    """The likely cause of a contradiction in many rows, and what to do."""
    if table.shifted is not None:
        return "clinical.shifted does not put that right; take the line out, and see what the run then says of the file"
    known, right = int(ratio.notna().sum()), int(((ratio - 1).abs() <= allowed).sum())
    enough = max(SHARE * known, right + MENDED_SHARE * (known - right))
    blocks = shifts(values["height_m"], (values[area] / values[index]) ** 0.5, allowed)
    agree = sum(size for _, _, size in blocks)
    if agree >= max(enough, SHIFT_ROWS * len(blocks)):
        names = [name for name in MEASURED if name in table.cells]
        stated, lost = stated_shifts(blocks, values.index)
        of = max(agree, known - lost)
        listed = ", ".join(f"{row}: {'null' if by is None else by}" for row, by in stated.items())
        gone = f", and {lost} patients have none left" if lost else ""
        return (
            f"the columns {', '.join(names)} stand shifted against the patients. By the heights that area and index "
            f"imply, clinical.shifted: {{{listed}}} makes {agree} of {of} rows agree "
            f"({agree / of:.0%}){gone}. Nothing is guessed: take the columns anew from where they were "
            "measured, or state this line if that is what happened to the file (docs/own_data.md)"
        )
    k = float(ratio.median())
    if ((ratio / k - 1).abs() <= allowed).sum() >= enough:
        return (
            f"it is {k:.4g} times that in nearly all: another unit, another height, or a corrected area; mend the "
            "column, or map one of the two alone"
        )
    if ((ratio * values["height_m"] - 1).abs() <= allowed).sum() >= enough:
        return f"it is {area} / height_m, not squared; map {area} alone"
    return (
        "no shift of rows, unit or factor explains it, so these rows may be mistyped, or the columns sorted apart from "
        "the patients, or of other heights; take them anew, or map one of the two alone if you know that it is right"
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
