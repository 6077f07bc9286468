"""The clinical table: read, checked row by row, nothing dropped without a reason.

What may stand in it is in ``columns``, reading files in ``table_files``, a site's own headings, codes and dates in
``mapping``, its units in ``units``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from analysis_lib.cohort import index_columns, mapping, units, whole_columns
from analysis_lib.cohort.columns import BY_NAME, COLUMNS, KEPT, NUMERIC, SAFE_ID, UID, Column, schema
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable, read_table
from analysis_lib.common.files import file_hash
from analysis_lib.common.loss import loss_by_outcome
from analysis_lib.common.times import tied_times
from analysis_lib.core.clinical_params import ClinicalParams

__all__ = ["EXCLUSION_COLUMNS", "ClinicalTableError", "read_clinical", "read_patient_ids"]

EXCLUSION_COLUMNS = ["patient_id", "stage", "reason"]
STAGE = "clinical table"
EVENTS = {"os_months": "os_event", "rfs_months": "rfs_event"}


def read_clinical(
    path: Path,
    set_names: list[str],
    settings: ClinicalParams | None = None,
    today: dt.date | None = None,
    doubts: list[str] | None = None,
    further: Sequence[Column] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check the clinical table.

    ``settings`` is the section ``clinical`` of the parameters; ``today`` is for dates in the future; ``doubts`` gets a
    sentence for each thing about the whole table that should be looked at and stops nothing; ``further`` are columns
    that this study needs beside ``COLUMNS`` and the table must have. Returns the
    patients that can be used (every kept column of both, missing ones as NaN) and the exclusions
    (patient_id, stage, reason, set), one row a patient. Raises ClinicalTableError where the table itself is missing,
    unreadable, lacks a required column or cannot be read without a guess. No message repeats text of a cell, which may
    be a name.
    """
    settings = settings or ClinicalParams()
    table = _mapped(Path(path), settings, today or dt.date.today(), set_names, further)
    values = _parsed(table, settings, set_names, further)
    _check_rows(table, values, settings, Path(path).parent)
    bad = [row for row in values.index if table.complaints.get(row)]
    _check_loss(table, values, bad)
    if empty := [name for name in set_names if name not in set(values["set"])]:
        table.doubts.append(
            f"no patient of the table is of the set{'s' if len(empty) > 1 else ''} {', '.join(empty)}; give null in "
            "cohort.sets to those that the study does not have, or they stay as empty columns and panels"
        )
    if doubts is not None:
        doubts += table.doubts
    exclusions = pd.DataFrame(
        {
            "patient_id": [_shown_id(values.at[row, "patient_id"], row) for row in bad],
            "stage": STAGE,
            "reason": ["; ".join(dict.fromkeys(table.complaints[row])) for row in bad],
            "set": [values.at[row, "set"] or "unknown" for row in bad],
        },
        columns=[*EXCLUSION_COLUMNS, "set"],
    )
    kept = [*KEPT, *further]
    good = values.drop(index=bad)[[c.name for c in kept]]
    texts = [c.name for c in kept if c.kind not in ("number", "flag")]
    good[texts] = good[texts].astype(object).where(good[texts] != "", None)
    good = good.sort_values("patient_id", ignore_index=True)
    return schema(set_names, further).validate(good), exclusions


def read_patient_ids(path: Path, settings: ClinicalParams | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with checked identifiers only, for patients whose outcome is still to come: (patients, exclusions).

    The other columns stay text and unchecked, but l3_z_mm, and ``settings`` may map columns that the table lacks.
    Raises ClinicalTableError as ``read_clinical`` does.
    """
    settings = settings or ClinicalParams()
    raw = read_table(path, settings)
    there = set(map(mapping.fold, raw.cells.columns))
    columns = {o: t for o, t in settings.columns.items() if o == "patient_id" or mapping.fold(t) in there}
    own = settings.model_copy(update={"columns": columns})
    table = mapping.rename(raw, own, [c.name for c in COLUMNS], ["patient_id"])
    whole_columns.without_missing(table, settings)
    ids = table.cells["patient_id"]
    _check_ids(table, ids, None)
    if "l3_z_mm" in table.cells:
        continental = mapping.is_continental(table, ["l3_z_mm"])
        heights = {row: mapping.number(text, settings, continental) for row, text in table.cells["l3_z_mm"].items()}
        table.cells["l3_z_mm"] = pd.Series({row: value for row, (value, _) in heights.items()}, dtype=float)
        for row, (_, problem) in heights.items():
            if problem:
                table.complain(row, f"l3_z_mm {problem}")
    bad = [row for row in table.cells.index if table.complaints.get(row)]
    excluded = pd.DataFrame(
        [(_shown_id(ids[row], row), STAGE, "; ".join(table.complaints[row])) for row in bad], columns=EXCLUSION_COLUMNS
    )
    return table.cells.drop(index=bad).sort_values("patient_id", ignore_index=True), excluded


def _mapped(
    path: Path, settings: ClinicalParams, today: dt.date, set_names: list[str], further: Sequence[Column]
) -> RawTable:
    """The table under the study's column names, dates turned into months; all cells still text."""
    coded = {c.name: list(c.codes) for c in COLUMNS if c.codes} | {"set": set_names}
    mapping.check_codes(settings, coded)
    raw = read_table(path, settings)
    if settings.sha256 and file_hash(path) != settings.sha256:
        raise ClinicalTableError(
            f"{path.name} is not the file that clinical.sha256 names; take the published one, or take that line out "
            "and look at what changed"
        )
    there = {mapping.fold(name): name for name in raw.cells}
    for column in further:
        if column.name not in settings.columns and mapping.fold(column.name) not in there:
            raise ClinicalTableError(
                f"{column.meaning}: the clinical table has no column '{column.name}'"
                f"{mapping.near(column.name, list(there))}; add it, or map it in clinical.columns"
            )
    with_dates = "surgery_date" in settings.columns or "surgery_date" in map(mapping.fold, raw.cells.columns)
    required = [c.name for c in COLUMNS if c.required and not (with_dates and c.name.startswith("os_"))]
    one_set = len(set_names) == 1 and "set" not in settings.columns and "set" not in map(mapping.fold, raw.cells)
    if one_set:
        required.remove("set")
    table = mapping.rename(raw, settings, [c.name for c in (*COLUMNS, *further)], required)
    if one_set:  # nothing to tell apart
        table.cells["set"] = set_names[0]
    whole_columns.without_missing(table, settings)
    index_columns.put_back(table, settings.shifted)
    if with_dates:
        whole_columns.check_dates(table, [name for name in mapping.DATES if name in table.cells], settings)
    mapping.dates_to_months(table, settings, today, set_names)
    return table


def _parsed(table: RawTable, settings: ClinicalParams, set_names: list[str], further: Sequence[Column]) -> pd.DataFrame:
    """Values of all columns; what is missing or impossible is complained of and left empty."""
    index = table.cells.index
    continental = mapping.is_continental(table, NUMERIC)
    from_dates = "surgery_date" in table.cells
    # Months that come from dates are in months whatever unit the table's own times have.
    in_months = {"os_months"} | ({"rfs_months"} if "recurrence_date" in table.cells else set()) if from_dates else set()
    values, wrong_units = pd.DataFrame(index=index), []
    for column in (c for c in (*COLUMNS, *further) if c.kind != "date"):
        text = table.cells.get(column.name, pd.Series("", index=index, dtype=object))
        if column.required:
            already = {row for row in index if from_dates and table.complaints.get(row)}
            for row in index[mapping.is_empty(text)]:
                if not (row in already and column.name.startswith("os_")):
                    table.complain(row, f"{column.name} is missing; fill it in")
        unit = "months" if column.name in in_months else units.stated(column, settings)
        made: list[float | str] = []
        value: float | str
        if column.kind == "number":
            written = [mapping.number(text[row], settings, continental) for row in index]
            wrong_units.append(units.of_whole_column(column, [value for value, _ in written], unit))
            known = int((~mapping.is_empty(text)).sum())
            wrong_units.append(whole_columns.doubtful_numbers(column, [problem for _, problem in written], known))
            if event := EVENTS.get(column.name):
                _day_zero(table, column, written, event, units.in_months(column, unit), settings)
                values[f"{column.name} written"] = [value * units.in_months(column, unit) for value, _ in written]
        else:
            wrong_units.append(whole_columns.doubtful_codes(column, text, settings))
        for k, row in enumerate(index):
            if column.kind == "number":
                value, problem = _number(column, *written[k], unit, text[row])
            else:
                value, problem = _value(column, text[row], settings, set_names)
            if problem:
                table.complain(row, problem)
            made.append(value)
        numeric = column.kind in ("number", "flag")
        values[column.name] = pd.Series(made, index=index, dtype=float if numeric else object)
    if any(wrong_units):
        raise ClinicalTableError(". ".join(filter(None, wrong_units)))
    _same_rounding(table, values, settings, in_months)
    index_columns.check_agreement(table, values)
    return values


def _day_zero(
    table: RawTable, column: Column, written: list, event: str, in_month: float, settings: ClinicalParams
) -> None:
    events = table.cells.get(event, pd.Series("", index=table.cells.index, dtype=object))
    if count := whole_columns.count_day_zero(event, written, events, in_month, settings):
        table.doubts.append(
            f"{column.name} is 0 for {count} patients with {event}: counted as half a day; at 0 the "
            "earliest events would be in no risk set"
        )


def _same_rounding(table: RawTable, values: pd.DataFrame, settings: ClinicalParams, in_months: set[str]) -> None:
    """OS and RFS of one patient on one scale: what differs by rounding alone is made equal, in place."""
    both = values[["os_months", "rfs_months"]].to_numpy()
    values[["os_months", "rfs_months"]] = tied_times(both)
    if "rfs_months" in table.cells and not in_months:
        unit = units.in_months(BY_NAME["os_months"], settings.units.time)
        beyond = values["rfs_months"] - values["os_months"]
        rounded = (beyond > 1e-9) & (beyond <= whole_columns.rounding_months(table, unit))
        if rounded.any():
            values["rfs_months"] = values["rfs_months"].mask(rounded, values["os_months"])
            table.doubts.append(
                f"rfs_months passes os_months by its rounding in {rounded.sum()} rows; taken as os_months there"
            )


def _check_loss(table: RawTable, values: pd.DataFrame, bad: list[int]) -> None:
    """Note exclusion that depends on the outcome; ClinicalTableError where it takes all who died, or all who lived."""
    died = values["os_event"].copy()
    if "surgery_date" in table.cells:  # a row whose dates are wrong has no months, but it is known who died
        dead, seen = (~mapping.is_empty(table.cells[name]) for name in ("death_date", "last_contact_date"))
        died = died.fillna(dead.astype(float).where(dead | seen))
    excluded = pd.Series(values.index.isin(bad), index=values.index)
    reasons = pd.Series({row: table.complaints[row][0] for row in bad}, index=values.index, dtype=object)
    stop, doubts = loss_by_outcome(excluded, died, values["os_months written"], reasons)
    if stop:
        raise ClinicalTableError(stop)
    table.doubts += doubts


def _number(column: Column, written: float, problem: str, unit: str, text: str) -> tuple[float, str]:
    if problem:
        return np.nan, f"{column.name} {problem}"
    return units.in_range(column, written, unit, text)


def _value(column: Column, text: str, settings: ClinicalParams, set_names: list[str]) -> tuple[float | str, str]:
    if column.kind in ("text", "path", "uid"):
        text = "" if text.lower() in mapping.EMPTY else text
        if column.kind == "text" and column.name != "patient_id" and text and not SAFE_ID.fullmatch(text):
            return "", (
                f"{column.name} may hold letters, digits, '.', '_' and '-' only, at most 64; use a code, not a name"
            )
        if column.kind == "uid" and text and not UID.fullmatch(text):
            return "", f"{column.name} is no DICOM UID (digits and points, at most 64); mend it or leave it empty"
        return text, ""
    allowed = set_names if column.kind == "set" else list(column.codes)
    found, problem = mapping.code(column.name, column.kind, text, settings, allowed)
    if column.kind == "flag":
        return (float(found) if found else np.nan), problem
    return found, problem


def _check_rows(table: RawTable, values: pd.DataFrame, settings: ClinicalParams, folder: Path) -> None:
    """Complaints of whole rows, and the values that follow from others (BMI, tumour diameter)."""
    _check_ids(table, values["patient_id"], values["set"])
    for row, v in values.iterrows():
        if np.isnan(v["rfs_months"]) != np.isnan(v["rfs_event"]):
            table.complain(row, "rfs_months and rfs_event must be given together or both left empty")
        if v["rfs_months"] > v["os_months"] + 1e-9:
            table.complain(
                row, "rfs_months is longer than os_months; recurrence-free survival ends with death at the latest"
            )
        if v["rfs_cause"] and v["rfs_event"] != 1:
            table.complain(row, "rfs_cause is given but rfs_event is not 1; mend one of them")
        if v["rfs_cause"] == "death" and v["os_event"] == 0:
            table.complain(row, "rfs_cause is death but os_event is 0; mend one of them")
        if settings.tumour_threshold_cm != 5 and not np.isnan(v["tumour_diameter_over_5cm"]):
            table.complain(
                row,
                f"tumour_diameter_over_5cm is no answer where clinical.tumour_threshold_cm is "
                f"{settings.tumour_threshold_cm:g}; give tumour_size_cm alone",
            )
        large = v["tumour_size_cm"] > settings.tumour_threshold_cm
        both = not np.isnan(v["tumour_size_cm"]) and not np.isnan(v["tumour_diameter_over_5cm"])
        if both and large != bool(v["tumour_diameter_over_5cm"]):
            table.complain(row, "tumour_size_cm and tumour_diameter_over_5cm contradict each other; mend one")
        for name in ("ct_path", "mask_path"):
            if v[name] and (problem := _path_problem(folder, v[name], name)):
                table.complain(row, problem)
    values["bmi"] = values["bmi"].fillna(values["weight_kg"] / values["height_m"] ** 2)
    size = values["tumour_size_cm"]
    over = (size > settings.tumour_threshold_cm).astype(float).mask(size.isna())
    values["tumour_diameter_over_5cm"] = values["tumour_diameter_over_5cm"].fillna(over)
    bmi = BY_NAME["bmi"]
    for row in values.index[values["bmi"].notna() & ~values["bmi"].between(bmi.low, bmi.high)]:
        table.complain(row, "weight_kg and height_m give an impossible BMI; mend one of them")


def _check_ids(table: RawTable, ids: pd.Series, sets: pd.Series | None) -> None:
    for row, name in ids.items():
        if re.fullmatch(r"\d([.,]\d+)?[eE]\+\d+", name):
            table.complain(row, "patient_id was turned into a rounded number by Excel; format the column as text")
        elif name and not SAFE_ID.fullmatch(name):
            table.complain(row, "patient_id may hold letters, digits, '.', '_' and '-' only, at most 64; rename")
        elif not name and sets is None:
            table.complain(row, "patient_id is missing; fill it in")
    for row in ids.index[ids.duplicated(keep=False) & (ids != "")]:
        where = set() if sets is None else set(sets[ids == ids[row]])
        if len(where) > 1:
            table.complain(row, "patient_id is in more than one set; keep one row")
        else:
            table.complain(row, "patient_id occurs more than once in the table; keep one row")


def _path_problem(folder: Path, text: str, column: str) -> str:
    """Why a path of the table may not be followed; the path itself may hold a name and is not shown."""
    windows = PureWindowsPath(text)  # knows drives and both kinds of slashes
    if text.startswith(("/", "\\", "~")) or windows.drive or ".." in windows.parts:
        return f"{column} leads outside the data folder; give a path below it"
    if len(text) > 1024 or any(ord(c) < 32 for c in text):
        return f"{column} is no usable path; give one below the data folder"
    try:
        place = folder
        for part in windows.parts:
            place = place / part
            if place.is_symlink():
                return f"{column} leads over a symbolic link; put the files themselves into the data folder"
        (folder / text).exists()
    except OSError:
        return f"{column} is no usable path; give one below the data folder"
    return ""


def _shown_id(value: str, row: int) -> str:
    """An identifier that is safe to print: a malformed one might be a name, so its line stands for it."""
    return value if SAFE_ID.fullmatch(value) else f"line {row} of the table"
