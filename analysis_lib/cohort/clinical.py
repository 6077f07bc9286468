"""The clinical table: read, checked row by row, nothing dropped without a reason.

``COLUMNS`` is the data dictionary; the pandera schema is generated from it, so the two cannot differ. Reading files
is in ``table_files``, a site's own headings, codes, units and dates in ``mapping``.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
import pandera.pandas as pa

from analysis_lib.cohort import mapping
from analysis_lib.cohort.clinical_params import ClinicalParams
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable, read_table

__all__ = ["COLUMNS", "EXCLUSION_COLUMNS", "ClinicalTableError", "data_dictionary", "read_clinical", "read_patient_ids"]

EXCLUSION_COLUMNS = ["patient_id", "stage", "reason"]
STAGE = "clinical table"
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Column:
    """One column of the clinical table: meaning, unit and the range outside which a value is a mistake.

    ``kind``: text (an identifier), number, flag (0 or 1), set, sex, rfs_cause, uid, path or date. ``above`` is a
    bound that itself is not allowed. ``kept`` columns go on to the study, the others are used up in reading.
    """

    name: str
    meaning: str
    unit: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    kind: str = "number"
    codes: tuple[str, ...] = ()
    above: bool = False
    kept: bool = True


def _flag(name: str, meaning: str, required: bool = False) -> Column:
    return Column(name, meaning, "0 no, 1 yes", required, kind="flag", codes=("0", "1"))


def _months(name: str, meaning: str, required: bool = False) -> Column:
    return Column(name, meaning, "months of 30.4375 days", required, 0, 600, above=True)


def _date(name: str, meaning: str) -> Column:
    return Column(name, meaning, "date, instead of months", kind="date", kept=False)


COLUMNS = (
    Column("patient_id", "The study's own identifier, also the name of CT folder and mask", required=True, kind="text"),
    Column("set", "Set of patients, a name in the parameter file", required=True, kind="set"),
    Column("sex", "Sex", "M male, F female", True, kind="sex", codes=("M", "F")),
    Column("age", "Age at surgery", "years", False, 18, 110),
    Column("height_m", "Height; without it SMI and PMI are missing", "metres", False, 1.2, 2.3),
    Column("bmi", "Body mass index", "kg/m2", False, 10, 70),
    Column("weight_kg", "Weight; used for BMI where bmi is empty", "kg", False, 25, 250, kept=False),
    _months("os_months", "Surgery to death or last contact", True),
    _flag("os_event", "Death from any cause", True),
    _months("rfs_months", "Surgery to recurrence, death or last contact"),
    _flag("rfs_event", "Recurrence or death"),
    Column(
        "rfs_cause",
        "What ended recurrence-free survival, for cumulative incidence",
        "recurrence, death",
        kind="rfs_cause",
        codes=("recurrence", "death"),
    ),
    _flag("tumour_diameter_over_5cm", "Total tumour diameter above 5 cm"),
    Column("tumour_size_cm", "Total tumour diameter; fills tumour_diameter_over_5cm", "cm", low=0, high=40, kept=False),
    _flag("tumour_single", "Single tumour"),
    _flag("vascular_invasion", "Vascular invasion"),
    Column("centre", "Code of the centre, for strata; a code, not a name", kind="text"),
    Column("series_uid", "SeriesInstanceUID of the CT, where the folder holds several", kind="uid"),
    Column("ct_path", "CT folder or file below the data folder, if not ct/<patient_id>", kind="path"),
    Column("mask_path", "Mask below the data folder, if not masks/<patient_id>", kind="path"),
    Column("l3_sop_instance_uid", "SOPInstanceUID of the L3 slice", kind="uid"),
    Column("l3_z_mm", "Position of the L3 slice in the patient's coordinates (LPS)", "mm", low=-5000, high=5000),
    _date("surgery_date", "Surgery; with it, os_* and rfs_* are taken from the dates"),
    _date("death_date", "Death; empty for the living"),
    _date("recurrence_date", "First recurrence; empty without"),
    _date("last_contact_date", "Last contact"),
)
BY_NAME = {c.name: c for c in COLUMNS}
NUMERIC = [c.name for c in COLUMNS if c.kind == "number"]
KEPT = [c for c in COLUMNS if c.kept]
OPTIONAL = [c.name for c in KEPT if not c.required]
# A mistaken unit is recognised by the value that it would give: (factor to the right unit, what it is, the fix).
UNIT_MISTAKES = {
    "height_m": [(0.01, "centimetres", "clinical.units.height: cm"), (100, "metres", "clinical.units.height: m")],
    "os_months": [(12 / 365.25, "days", "clinical.units.time: days")],
    "rfs_months": [(12 / 365.25, "days", "clinical.units.time: days")],
    "tumour_size_cm": [(0.1, "millimetres", "clinical.units.tumour_size: mm")],
    "weight_kg": [(0.001, "grams", "kilograms in the column")],
    "bmi": [(0.1, "a value with a lost decimal sign", "the right value in the cell")],
}


def schema(set_names: list[str]) -> pa.DataFrameSchema:
    """Pandera schema of one checked table (text columns as text, all others numeric)."""
    columns = {}
    for column in KEPT:
        nullable = not column.required
        if column.kind in ("text", "set", "sex", "rfs_cause", "uid", "path"):
            checks = {
                "text": pa.Check.str_matches(f"^{SAFE_ID.pattern}$"),
                "set": pa.Check.isin(set_names),
                "uid": pa.Check.str_matches(f"^{UID.pattern}$"),
                "path": pa.Check.str_length(1, 1024),
            }
            check = checks.get(column.kind) or pa.Check.isin(column.codes)
            spec = pa.Column(object, check, nullable=nullable, unique=column.name == "patient_id")
        elif column.kind == "flag":
            spec = pa.Column(float, pa.Check.isin([0.0, 1.0]), nullable=nullable)
        else:
            checks = pa.Check.in_range(column.low, column.high, include_min=not column.above)
            spec = pa.Column(float, checks, nullable=nullable)
        columns[column.name] = spec
    return pa.DataFrameSchema(columns, strict=True)


def data_dictionary() -> pd.DataFrame:
    """The data dictionary as a frame (column, required, unit_or_codes, lowest, highest, meaning)."""
    return pd.DataFrame(
        {
            "column": c.name,
            "required": "yes" if c.required else "no",
            "unit_or_codes": c.unit,
            "lowest": c.low,
            "highest": c.high,
            "meaning": c.meaning,
        }
        for c in COLUMNS
    )


def read_clinical(
    path: Path, set_names: list[str], settings: ClinicalParams | None = None, today: dt.date | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check the clinical table.

    ``settings`` is the section ``clinical`` of the parameters; ``today`` is for dates in the future. Returns the
    patients that can be used (every kept column of ``COLUMNS``, missing ones as NaN) and the exclusions
    (patient_id, stage, reason, set), one row a patient. Raises ClinicalTableError where the table itself is missing,
    unreadable or lacks a required column. No message repeats text of a cell, which may be a name.
    """
    settings = settings or ClinicalParams()
    table = _mapped(Path(path), settings, today or dt.date.today(), set_names)
    values = _parsed(table, settings, set_names)
    _check_rows(table, values, settings, Path(path).parent)
    bad = [row for row in values.index if table.complaints.get(row)]
    exclusions = pd.DataFrame(
        {
            "patient_id": [_shown_id(values.at[row, "patient_id"], row) for row in bad],
            "stage": STAGE,
            "reason": ["; ".join(dict.fromkeys(table.complaints[row])) for row in bad],
            "set": [values.at[row, "set"] or "unknown" for row in bad],
        },
        columns=[*EXCLUSION_COLUMNS, "set"],
    )
    good = values.drop(index=bad)[[c.name for c in KEPT]]
    texts = [c.name for c in KEPT if c.kind not in ("number", "flag")]
    good[texts] = good[texts].astype(object).where(good[texts] != "", None)
    good = good.sort_values("patient_id", ignore_index=True)
    return schema(set_names).validate(good), exclusions


def read_patient_ids(path: Path, settings: ClinicalParams | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with checked identifiers only, for patients whose outcome is still to come: (patients, exclusions).

    The other columns stay text and unchecked. Raises ClinicalTableError as ``read_clinical`` does.
    """
    settings = settings or ClinicalParams()
    table = mapping.rename(read_table(path, settings), settings, [c.name for c in COLUMNS], ["patient_id"])
    ids = table.cells["patient_id"]
    _check_ids(table, ids, None)
    bad = [row for row in table.cells.index if table.complaints.get(row)]
    excluded = pd.DataFrame(
        [(_shown_id(ids[row], row), STAGE, "; ".join(table.complaints[row])) for row in bad], columns=EXCLUSION_COLUMNS
    )
    return table.cells.drop(index=bad).sort_values("patient_id", ignore_index=True), excluded


def _mapped(path: Path, settings: ClinicalParams, today: dt.date, set_names: list[str]) -> RawTable:
    """The table under the study's column names, dates turned into months; all cells still text."""
    coded = {c.name: list(c.codes) for c in COLUMNS if c.codes} | {"set": set_names}
    mapping.check_codes(settings, coded)
    raw = read_table(path, settings)
    with_dates = "surgery_date" in settings.columns or "surgery_date" in map(mapping.fold, raw.cells.columns)
    required = [c.name for c in COLUMNS if c.required and not (with_dates and c.name.startswith("os_"))]
    table = mapping.rename(raw, settings, [c.name for c in COLUMNS], required)
    mapping.dates_to_months(table, settings, today)
    return table


def _parsed(table: RawTable, settings: ClinicalParams, set_names: list[str]) -> pd.DataFrame:
    """Values of all columns; what is missing or impossible is complained of and left empty."""
    index = table.cells.index
    continental = mapping.is_continental(table, NUMERIC)
    # Months that come from dates are in months whatever unit the table's own times have.
    from_dates = "surgery_date" in table.cells
    values = pd.DataFrame(index=index)
    for column in (c for c in COLUMNS if c.kind != "date"):
        text = table.cells.get(column.name, pd.Series("", index=index, dtype=object))
        if column.required:
            already = {row for row in index if from_dates and table.complaints.get(row)}
            for row in index[mapping.is_empty(text)]:
                if not (row in already and column.name.startswith("os_")):
                    table.complain(row, f"{column.name} is missing; fill it in")
        factor = 1.0 if from_dates and column.name.endswith("_months") else _factor(column.name, settings)
        made = []
        for row in index:
            value, problem = _value(column, text[row], settings, set_names, continental, factor)
            if problem:
                table.complain(row, problem)
            made.append(value)
        numeric = column.kind in ("number", "flag")
        values[column.name] = pd.Series(made, index=index, dtype=float if numeric else object)
    return values


def _value(
    column: Column, text: str, settings: ClinicalParams, set_names: list[str], continental: bool, factor: float
) -> tuple[float | str, str]:
    if column.kind in ("text", "path", "uid"):
        text = "" if text.lower() in mapping.EMPTY else text
        if column.name == "centre" and text and not SAFE_ID.fullmatch(text):
            return "", "centre may hold letters, digits, '.', '_' and '-' only, at most 64; use a code, not a name"
        if column.kind == "uid" and text and not UID.fullmatch(text):
            return "", f"{column.name} is no DICOM UID (digits and points, at most 64); mend it or leave it empty"
        return text, ""
    if column.kind == "number":
        value, problem = mapping.number(text, settings, continental)
        if problem:
            return np.nan, f"{column.name} {problem}"
        return _in_range(column, value, value * factor, factor, text)
    allowed = set_names if column.kind == "set" else list(column.codes)
    found, problem = mapping.code(column.name, column.kind, text, settings, allowed)
    if column.kind == "flag":
        return (float(found) if found else np.nan), problem
    return found, problem


def _factor(name: str, settings: ClinicalParams) -> float:
    """From the table's unit to the study's."""
    units = settings.units
    if name == "height_m":
        return {"m": 1.0, "cm": 0.01}[units.height]
    if name in ("os_months", "rfs_months"):
        return {"months": 1.0, "days": 1 / mapping.DAYS_PER_MONTH, "years": 365.25 / mapping.DAYS_PER_MONTH}[units.time]
    if name == "tumour_size_cm":
        return {"cm": 1.0, "mm": 0.1}[units.tumour_size]
    return 1.0


def _in_range(column: Column, written: float, value: float, factor: float, text: str) -> tuple[float, str]:
    def inside(x: float) -> bool:
        return column.low <= x <= column.high and not (column.above and x == column.low)

    if np.isnan(value) or inside(value):
        return value, ""
    what = f"{column.name} {mapping.shown(text)}"
    if column.above and value == 0:
        return np.nan, f"{what}: no time after surgery; give the real time, in parts of a month if need be"
    if column.above and value < 0:
        return np.nan, f"{what} is negative; the end lies before surgery, mend it"
    for mistake, unit, fix in UNIT_MISTAKES.get(column.name, []):
        right = written * mistake if factor == 1.0 else value * mistake
        if inside(right) and not (factor == 1.0 and mistake > 1):
            return np.nan, f"{what}: looks like {unit}; set {fix}"
    return np.nan, f"{what} is outside {column.low:g} to {column.high:g} {column.unit}; mend it"


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
