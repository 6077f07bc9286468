"""Units of the clinical table: one mistaken value costs its row, a whole column in another unit stops the run.

A whole column must be seen as a whole: 300 days are a possible number of months, so the short times of a column in
days would pass one by one.
"""

from __future__ import annotations

import numpy as np

from analysis_lib.cohort.columns import AREA_OF, BY_NAME, MEASURED, Column
from analysis_lib.cohort.mapping import DAYS_PER_MONTH, NATURAL_CODES, NUMBER, plain_code, shown
from analysis_lib.core.clinical_params import ClinicalParams

KILOGRAMS_PER_POUND = 0.45359237
# Unit: factor to the study's unit, which comes first.
TIMES = {"months": 1.0, "days": 1 / DAYS_PER_MONTH, "weeks": 7 / DAYS_PER_MONTH, "years": 365.25 / DAYS_PER_MONTH}
FACTORS = {
    "height_m": {"m": 1.0, "cm": 0.01},
    "os_months": TIMES,
    "tumour_size_cm": {"cm": 1.0, "mm": 0.1},
    **dict.fromkeys(("sm_area_cm2", "pm_area_cm2"), {"cm2": 1.0, "mm2": 0.01, "m2": 10_000.0}),
    **dict.fromkeys(AREA_OF, {"cm2/m2": 1.0, "mm2/m2": 0.01}),
    "weight_kg": {"kg": 1.0, "pounds": KILOGRAMS_PER_POUND, "grams": 0.001},
}
PARAMETERS = {"height_m": "height", "os_months": "time", "tumour_size_cm": "tumour_size"}
PARAMETERS |= dict.fromkeys(AREA_OF.values(), "area") | dict.fromkeys(AREA_OF, "index")
WORDS = {"m": "metres", "cm": "centimetres", "mm": "millimetres"}
FEWEST_VALUES = 3  # of a column that can be judged as a whole


def stated(column: Column, settings: ClinicalParams) -> str:
    """Unit in which the parameters say that the column is; the study's own where they say nothing."""
    if _kind(column) in PARAMETERS:
        return getattr(settings.units, PARAMETERS[_kind(column)])
    return next(iter(FACTORS.get(_kind(column), {"": 1.0})))


def in_range(column: Column, written: float, unit: str, text: str) -> tuple[float, str]:
    """A number of the table in the study's unit, and what is wrong with it ('' if nothing); ``text`` is its cell."""
    value = written * _factor(column, unit)
    if np.isnan(value) or _inside(column, value):
        return value, ""
    what = f"{column.name} {shown(text)}"
    if column.above and value == 0:
        return np.nan, f"{what}: no time of follow-up; give the real time, in parts of a month if need be"
    if column.above and value < 0:
        return np.nan, f"{what} is negative; the end lies before the start, mend it"
    for other in _others(column, unit):
        if _inside(column, written * _factor(column, other)):
            return np.nan, f"{what}: looks like {WORDS.get(other, other)}; {_fix(column, other)}"
    if column.name == "bmi" and _inside(column, value / 10):
        return np.nan, f"{what}: looks like a value with a lost decimal sign; mend it"
    return np.nan, f"{what} is outside {column.low:g} to {column.high:g} {column.unit}; mend it"


def in_months(column: Column, unit: str) -> float:
    """Months (or whatever the study's unit is) in one unit of the column."""
    return _factor(column, unit)


def possible(column: Column, key: str, settings: ClinicalParams) -> bool:
    """Whether a cell may be a value of the column, and so is no code of what is missing."""
    if column.kind in NATURAL_CODES:
        given = [code for codes in settings.codes.get(column.name, {}).values() for code in codes]
        return key in (map(plain_code, given) if given else NATURAL_CODES[column.kind])
    unit = stated(column, settings)
    return (
        column.kind == "number" and bool(NUMBER.fullmatch(key)) and _inside(column, float(key) * _factor(column, unit))
    )


def of_whole_column(column: Column, written: list[float], unit: str) -> str:
    """What is wrong with a column whose middle value is impossible for a study and right in another unit; else ''."""
    known = np.array(written, float)
    known = known[np.isfinite(known)]
    if column.median is None or len(known) < FEWEST_VALUES:
        return ""
    middle = float(np.median(known))
    low, high = column.median
    if low <= middle * _factor(column, unit) <= high:
        return ""
    for other in _others(column, unit):
        if low <= middle * _factor(column, other) <= high:
            return (
                f"{column.name}: the whole column looks like {WORDS.get(other, other)} (the middle of {len(known)} "
                f"values is {shown(f'{middle:g}')}, and {WORDS.get(unit, unit)} are expected); {_fix(column, other)}"
            )
    if column.name in MEASURED:
        return (
            f"{column.name}: the middle of {len(known)} values is {shown(f'{middle:g}')}, and no study has one outside "
            f"{low:g} to {high:g} {column.unit}; is it another quantity, or (HU) the stored values of a CT? Mend or "
            "unmap the column"
        )
    return ""


def _others(column: Column, unit: str) -> list[str]:
    # Few months are not taken for years: a study may be short.
    return [other for other in FACTORS.get(_kind(column), {}) if other != unit and (unit, other) != ("months", "years")]


def _factor(column: Column, unit: str) -> float:
    return FACTORS.get(_kind(column), {}).get(unit, 1.0)


def _kind(column: Column) -> str:
    """The column whose units this one has: a time of the study's own is like any other."""
    return "os_months" if column.unit == BY_NAME["os_months"].unit else column.name


def _inside(column: Column, value: float) -> bool:
    low, high = column.low, column.high
    return low is not None and high is not None and low <= value <= high and not (column.above and value == low)


def _fix(column: Column, unit: str) -> str:
    if _kind(column) in PARAMETERS:
        return f"set clinical.units.{PARAMETERS[_kind(column)]}: {unit}"
    return f"give {column.unit} in the column"
