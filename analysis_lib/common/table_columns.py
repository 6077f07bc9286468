"""Columns of a table that nobody prepared: which are numbers, and which are no covariates."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

NUMBERED = re.compile(r"(p|pat|patient|subject|case|record|sample)?[ _.-]?(id|mrn|no|nr|number)", re.IGNORECASE)
# of a patient, so that it may stand in several rows: study_id, participant_id, USUBJID, PatientID, pseudonym
NAMED = re.compile(r"(?i:(.*[ _.-])?(id|uid|mrn|patid)|.*subjid|pseudonym|patient|subject)|.*[a-z]I[Dd]")
FEWEST_NAMED = 10  # values of such a column: fewer are those of hospitals or scanners
GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,204: thousands, where the other rows are plain numbers
CODES = (-9, -99, -999, -9999, 99, 999, 9999)  # which tables hold for what is not known
ENTRY = re.compile(
    r"(delayed)?[ _.-]?(entry|t?start|begin|left|trunc\w*|t0)[ _.-]?(time|age|months?|days?|years?)?", re.I
)


def numbers(column: pd.Series) -> np.ndarray | None:
    """The column as float64 with NaN where empty; None if it holds words, dates or durations."""
    if is_time(column):
        return None
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        try:
            column = pd.to_numeric(column)
        except (ValueError, TypeError):
            return None
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def is_time(column: pd.Series) -> bool:
    """Whether a column of a Parquet table holds dates or durations, which would be read as nanoseconds."""
    kind = column.dropna().map(type) if column.dtype == object else None
    if kind is not None and len(kind):
        return issubclass(kind.iloc[0], (pd.Timestamp, pd.Timedelta)) or hasattr(column.dropna().iloc[0], "isoformat")
    return pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column)


def identifiers(covariates: pd.DataFrame) -> list[str]:
    """Columns that only tell rows or patients apart: an exported index, whole numbers that go up by one or are all
    different under a name such as patient_id, words all different, values under the name of an identifier.
    """
    found = []
    for name, column in covariates.items():
        whole = pd.api.types.is_integer_dtype(column) and len(column) > 1
        counts = whole and (column.diff().iloc[1:] == 1).all()
        numbered = whole and column.is_unique and NUMBERED.fullmatch(str(name))
        named = not pd.api.types.is_float_dtype(column) and NAMED.fullmatch(str(name)) and not is_time(column)
        named = named and column.nunique() >= min(FEWEST_NAMED, len(column) / 2)
        if counts or numbered or named or str(name).startswith("Unnamed: ") or _names(column):
            found.append(name)
    return found


def _names(column: pd.Series) -> bool:
    if (
        len(column) < 20
        or not column.is_unique
        or column.isna().any()
        or is_time(column)
        or numbers(column) is not None
    ):
        return False
    as_dates = pd.to_datetime(column.astype(str), errors="coerce", format="mixed")
    return pd.to_numeric(column, errors="coerce").isna().all() and as_dates.isna().all()


def entry_times(covariates: pd.DataFrame, months: np.ndarray) -> list[str]:
    """Columns that look like the time at which a patient came under observation, which is no covariate."""
    known = {name: numbers(covariates[name]) for name in covariates if ENTRY.fullmatch(str(name))}
    return [n for n, x in known.items() if x is not None and (x > 0).any() and not ((x < 0) | (x > months)).any()]


def without_codes(frame: pd.DataFrame, missing: Sequence[str]) -> pd.DataFrame:
    """The table with empty cells for the values that say 'not known', such as -9; as numbers they are any -9.0."""
    values = [*missing, *pd.to_numeric(pd.Series(missing, dtype=object), errors="coerce").dropna()]
    return frame.apply(lambda column: column.mask(column.isin(values))) if values else frame


def codes_of_missing(x: pd.DataFrame, learn: np.ndarray) -> dict[str, tuple[int, int]]:
    """Code and rows of each covariate in which a value such as -9 repeats, far from all others."""
    found = {}
    for name, column in x[learn].items():
        for code in CODES:
            rows, others = int((column == code).sum()), column[column != code].dropna()
            far = others.min() >= 0 if code < 0 else 3 * others.abs().max() < code
            if rows >= 2 and len(others) and others.nunique() > 2 and far:
                found[str(name)] = (code, rows)
    return found
