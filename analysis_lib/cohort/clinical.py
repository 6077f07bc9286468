"""The clinical table: read, checked row by row, nothing dropped without a reason.

``COLUMNS`` is the data dictionary; the pandera schema is generated from it, so the two cannot differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from analysis_lib.errors import StudyError

EXCLUSION_COLUMNS = ["patient_id", "stage", "reason"]
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ClinicalTableError(StudyError, ValueError):
    """The table as a whole cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Column:
    """One column of patients.csv: meaning, unit and the range outside which a value is a mistake."""

    name: str
    meaning: str
    unit: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    codes: tuple[str, ...] = ()
    hint: str = ""


def _flag(name: str, meaning: str, required: bool = False) -> Column:
    return Column(name, meaning, "0 no, 1 yes", required, codes=("0", "1"), hint="code it 0 or 1")


MONTHS = "months of 30.4375 days"
COLUMNS = (
    Column("patient_id", "The study's own identifier, also the name of CT folder and mask file", required=True),
    Column("set", "Set of patients, a name in the parameter file", required=True),
    Column("sex", "Sex", "M male, F female", True, codes=("M", "F"), hint="code it M or F"),
    Column("age", "Age at surgery", "years", False, 18, 110),
    Column("height_m", "Height", "metres", True, 1.2, 2.3, hint="give it in metres"),
    Column("bmi", "Body mass index", "kg/m2", False, 10, 70),
    Column(
        "weight_kg",
        "Weight; used for BMI where bmi is empty",
        "kg",
        False,
        25,
        250,
        hint="give it in kilograms",
    ),
    Column("os_months", "Surgery to death or last contact", MONTHS, True, 0, 600, hint="give it in months"),
    _flag("os_event", "Death from any cause", True),
    Column(
        "rfs_months",
        "Surgery to recurrence, death or last contact",
        MONTHS,
        False,
        0,
        600,
        hint="give it in months",
    ),
    _flag("rfs_event", "Recurrence or death"),
    _flag("tumour_diameter_over_5cm", "Total tumour diameter above 5 cm"),
    _flag("tumour_single", "Single tumour"),
    _flag("vascular_invasion", "Vascular invasion"),
)
OPTIONAL = [c.name for c in COLUMNS if not c.required]


def schema(set_names: list[str]) -> pa.DataFrameSchema:
    """Pandera schema of one checked table (all values numeric but patient_id, set and sex)."""
    columns = {}
    for column in COLUMNS:
        if column.name == "patient_id":
            spec = pa.Column(str, pa.Check.str_matches(f"^{SAFE_ID.pattern}$"), unique=True)
        elif column.name == "set":
            spec = pa.Column(str, pa.Check.isin(set_names))
        elif column.name == "sex":
            spec = pa.Column(str, pa.Check.isin(column.codes))
        elif column.codes:
            spec = pa.Column(float, pa.Check.isin([0.0, 1.0]), nullable=not column.required)
        else:
            spec = pa.Column(float, pa.Check.in_range(column.low, column.high), nullable=not column.required)
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


def read_clinical(path: Path, set_names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check patients.csv.

    Returns the patients that can be used (every column of ``COLUMNS`` but weight_kg, missing ones as NaN)
    and the exclusions (patient_id, stage, reason), one row a patient. Raises ClinicalTableError where the
    table itself is missing, unreadable or lacks a required column.
    """
    raw = _read_text_table(Path(path))
    missing = [c.name for c in COLUMNS if c.required and c.name not in raw.columns]
    if missing:
        present = ", ".join(map(str, raw.columns))[:300]
        raise ClinicalTableError(f"{Path(path).name} lacks the column(s) {', '.join(missing)}; it has {present}")
    reasons: list[list[str]] = [[] for _ in range(len(raw))]
    table = pd.DataFrame(index=raw.index)
    for column in COLUMNS:
        text = raw[column.name] if column.name in raw.columns else pd.Series("", index=raw.index)
        table[column.name], complaints = _parse(column, text.str.strip(), set_names)
        for row, complaint in complaints.items():
            reasons[row].append(complaint)
    for row in raw.index[table["patient_id"].duplicated(keep=False)]:
        reasons[row].append("patient_id occurs more than once in the table; keep one row")
    for row in table.index[table["rfs_months"].isna() != table["rfs_event"].isna()]:
        reasons[row].append("rfs_months and rfs_event must be given together or both left empty")
    for row in table.index[table["rfs_months"] > table["os_months"] + 1e-9]:
        reasons[row].append(
            "rfs_months is longer than os_months; recurrence-free survival ends with death at the latest"
        )
    table["bmi"] = table["bmi"].fillna(table["weight_kg"] / table["height_m"] ** 2)
    bad = pd.Series([bool(r) for r in reasons], index=raw.index)
    exclusions = pd.DataFrame(
        {
            "patient_id": [_shown_id(raw.loc[row, "patient_id"], row) for row in raw.index[bad]],
            "stage": "clinical table",
            "reason": ["; ".join(reasons[row]) for row in raw.index[bad]],
            "set": [str(raw.loc[row, "set"]).strip() for row in raw.index[bad]],
        },
        columns=[*EXCLUSION_COLUMNS, "set"],
    )
    good = schema(set_names).validate(table[~bad].reset_index(drop=True))
    return good.drop(columns="weight_kg").sort_values("patient_id", ignore_index=True), exclusions


def _read_text_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ClinicalTableError(
            f"clinical table {path.parent.name}/{path.name} not found; see the README, 'Your own data' (a study that "
            "names another study's data_dir needs that study to be run first)"
        )
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ClinicalTableError(f"{path.name} cannot be read as a UTF-8 CSV: {str(error)[:200]}") from None
    if raw.empty:
        raise ClinicalTableError(f"{path.name} has no patients")
    raw.columns = [str(c).strip() for c in raw.columns]
    if raw.columns.duplicated().any():
        raise ClinicalTableError(f"{path.name} has the column '{raw.columns[raw.columns.duplicated()][0]}' twice")
    return raw.fillna("")


def _parse(column: Column, text: pd.Series, set_names: list[str]) -> tuple[pd.Series, dict[int, str]]:
    """Values of one column and a complaint for each row whose value is missing or impossible."""
    complaints: dict[int, str] = {}
    empty = text.str.lower().isin(["", "na", "nan", "n/a", "none", "."])
    if column.required:
        complaints |= dict.fromkeys(text.index[empty], f"{column.name} is missing")
    if column.name == "patient_id":
        for row in text.index[~empty & ~text.str.fullmatch(SAFE_ID.pattern)]:
            complaints[row] = "patient_id may hold letters, digits, '.', '_' and '-' only, at most 64"
        return text, complaints
    if column.name in ("set", "sex"):
        allowed = set_names if column.name == "set" else list(column.codes)
        for row in text.index[~empty & ~text.isin(allowed)]:
            complaints[row] = f"{column.name} '{_short(text[row])}' is none of {', '.join(allowed)}"
        return text, complaints
    values = pd.to_numeric(text.mask(empty), errors="coerce").astype(float)
    for row in text.index[~empty & values.isna()]:
        complaints[row] = f"{column.name} is not a number ('{_short(text[row])}')"
    if column.codes:
        wrong = values.notna() & ~values.isin([0, 1])
    else:
        wrong = values.notna() & ~values.between(column.low, column.high)
    for row in text.index[wrong]:
        hint = f"; {column.hint}" if column.hint else ""
        allowed = "0 or 1" if column.codes else f"{column.low:g} to {column.high:g} {column.unit}"
        complaints[row] = f"{column.name} {_short(text[row])} is outside {allowed}{hint}"
    return values, complaints


def _short(value: str) -> str:
    return value if len(value) <= 40 else value[:37] + "..."


def _shown_id(value: str, row: int) -> str:
    """An identifier that is safe to print: a malformed one might be a name, so its line stands for it."""
    value = str(value).strip()
    return value if SAFE_ID.fullmatch(value) else f"line {row + 2} of the table"
