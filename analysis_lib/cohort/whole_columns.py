"""What no single cell of a column shows: codes, numbers and dates that the whole column makes doubtful, rounding, loss.

A cell that is wrong costs its row. Where a value that repeats makes the others doubtful too, the run stops, since each
row alone would be read without a word.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter

import numpy as np
import pandas as pd

from analysis_lib.cohort.columns import BY_NAME, Column
from analysis_lib.cohort.mapping import DAYS_PER_MONTH, ISO_DATE, NATURAL_CODES, code, is_empty, near, plain_code, shown
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable
from analysis_lib.cohort.units import possible
from analysis_lib.core.clinical_params import ClinicalParams

SHARE = 0.01  # of the values, and at least two: what repeats is no slip
HALF_A_DAY = 0.5 / DAYS_PER_MONTH  # months
DATE_LIKE = re.compile(r"\d{1,4}[./ -]\d{1,2}[./ -]\d{1,4}")


def repeats(count: int, known: int) -> bool:
    """Whether so many of the known values of a column are more than slips."""
    return count >= max(2, SHARE * known)


def doubtful_codes(column: Column, text: pd.Series, settings: ClinicalParams) -> str:
    """Why a coded column cannot be read without ``clinical.codes``; '' if it can.

    M beside H is mujer, 1 beside 2 may be alive, and 2 beside 0 and 1 another event.
    """
    natural = NATURAL_CODES.get(column.kind)
    if natural is None or column.name in settings.codes:
        return ""
    keys = Counter(plain_code(cell) for cell in text[~is_empty(text)])
    known = keys.total()
    unknown = {key: n for key, n in keys.items() if key not in natural}
    doubtful = {key: n for key, n in unknown.items() if repeats(n, known)}
    ask = f"say what they mean, as in clinical.codes.{column.name}:"
    if column.kind == "sex":
        meant = {natural[key] for key in keys if key in natural}
        letters = {key: n for key, n in unknown.items() if len(key) == 1 and key.isalpha()}
        if len(meant) == 2 or not (doubtful or letters):
            return ""
        others = " and ".join(sorted({_shown(key) for key in doubtful | letters}))
        both = f"{others} beside {'/'.join(sorted(meant))}, which may then mean another word" if meant else others
        return f"sex: the column holds {both}; {ask} {{M: [1], F: [2]}}"
    if not doubtful:
        return ""
    if set(doubtful) == {"2"} and keys["1"]:
        if not repeats(keys["0"], known):
            zero = "no 0" if not keys["0"] else "a single 0"
            return (
                f"{column.name}: the column holds 1 and 2 and {zero}, so 1 may mean yes or no; {ask} {{1: [2], 0: [1]}}"
            )
        competing = ", and give rfs_cause" if column.name == "rfs_event" else ""
        return (
            f"{column.name}: the column holds 0, 1 and 2, as where 2 is another event that ends follow-up (death "
            f"without recurrence); {ask} {{1: [1, 2], 0: [0]}}{competing}"
        )
    others, rows = " and ".join(sorted({_shown(key) for key in doubtful})), sum(doubtful.values())
    return (
        f"{column.name}: {rows} rows hold {others}, which is none of {', '.join(column.codes)}; {ask} "
        f"{{{column.codes[0]}: [1], {column.codes[1]}: [2]}}, or name what says 'not known' in clinical.missing"
    )


def _shown(key: str) -> str:
    return key.upper() if len(key) == 1 else shown(key)  # one letter is nobody's name


def doubtful_numbers(column: Column, problems: list[str], known: int) -> str:
    """Why a column of numbers needs ``clinical.decimal``: cells as 1,204 would cost the largest values alone."""
    twice = sum(problem.startswith("can be read in two ways") for problem in problems)
    if not repeats(twice, known):
        return ""
    return f"{column.name}: {twice} cells can be read in two ways, as 1,204; set clinical.decimal to '.' or ','"


def without_missing(table: RawTable, settings: ClinicalParams) -> None:
    """Empty the cells that hold one of ``clinical.missing``; who a patient is, and of which set, is never missing."""
    of_column, everywhere = settings.missing, set[str]()
    if isinstance(of_column, list):
        of_column, everywhere = {}, {plain_code(value) for value in of_column}
    if wrong := [name for name in of_column if name not in BY_NAME or name in ("patient_id", "set")]:
        raise ClinicalTableError(
            f"clinical.missing: '{wrong[0]}' is no column that may be missing{near(wrong[0], list(BY_NAME))}"
        )
    doubtful: dict[str, list[str]] = {}
    for name in table.cells.columns.difference(["patient_id", "set"]):
        missing = everywhere | {plain_code(value) for value in of_column.get(name, [])}
        keys = table.cells[name].map(plain_code)
        for key in sorted(everywhere & set(keys)):
            if name in BY_NAME and possible(BY_NAME[name], key, settings):
                doubtful.setdefault(key, []).append(name)
        table.cells[name] = table.cells[name].mask(keys.isin(missing), "")
    if doubtful:
        key, names = next(iter(doubtful.items()))
        raise ClinicalTableError(
            f"clinical.missing: {key} may be a value of {', '.join(names)}; say in which columns it means 'not known', "
            f"as in clinical.missing: {{vascular_invasion: [{key}]}}"
        )


def check_dates(table: RawTable, names: list[str], settings: ClinicalParams) -> None:
    """Raise ClinicalTableError for a column of dates in two forms, or in an order that fits a part of it."""
    form = settings.dates.format
    other = form.translate(str.maketrans("dm", "md"))
    for name in names:
        cells = table.cells[name]
        cells = cells[~is_empty(cells)]
        iso = np.array([bool(ISO_DATE.fullmatch(cell)) for cell in cells], dtype=bool)
        if name in table.date_columns:
            if any(DATE_LIKE.fullmatch(cell) for cell in cells[~iso]):
                raise ClinicalTableError(
                    f"{name} holds dates and text: a spreadsheet has read some of the dates itself, perhaps with day "
                    "and month exchanged; import the column again, all of it as text or all as dates"
                )
            continue
        if not form:
            continue
        fits = np.array([_is_date(cell, form) for cell in cells], dtype=bool)
        turned = np.array([_is_date(cell, other) for cell in cells], dtype=bool) & ~fits
        if repeats(int(turned.sum()), len(cells)):
            raise ClinicalTableError(
                f"{name}: {turned.sum()} of {len(cells)} dates are none of the form {form} but would be with day and "
                "month exchanged, so the others may be exchanged too; mend the column, or set clinical.dates.format: "
                f"'{other}'"
            )
        if fits.any() and repeats(int((iso & ~fits).sum()), len(cells)):
            raise ClinicalTableError(
                f"{name}: {(iso & ~fits).sum()} of {len(cells)} dates are written year first, the others as {form}: a "
                "spreadsheet has read some itself, perhaps with day and month exchanged; import the column again"
            )


def _is_date(text: str, form: str) -> bool:
    try:
        dt.datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def count_day_zero(
    name: str, written: list[tuple[float, str]], events: pd.Series, in_month: float, settings: ClinicalParams
) -> int:
    """Give those whose event fell on the day of surgery half a day, in place; returns how many they are.

    ``in_month``: months in a unit of the column. Left out, the earliest deaths would flatter survival; at zero they
    would be in no risk set.
    """
    count = 0
    for k, ((value, problem), event) in enumerate(zip(written, events, strict=True)):
        if 0 <= value * in_month < HALF_A_DAY and code(name, "flag", event, settings, [])[0] == "1":
            written[k], count = (HALF_A_DAY / in_month, problem), count + 1
    return count


def rounding_months(table: RawTable, in_month: float) -> float:
    """By how much rfs_months may pass os_months because the two are rounded differently, months; 0 if they are not."""
    digits = [
        max(
            (len(re.split(r"[.,]", cell)[1]) for cell in table.cells[name] if re.fullmatch(r"\d+[.,]\d+", cell)),
            default=0,
        )
        for name in ("os_months", "rfs_months")
    ]
    return in_month * 10.0 ** -min(digits) if digits[0] != digits[1] else 0.0
