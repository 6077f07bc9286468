"""From a site's headings, codes, units and dates to the study's columns; nothing that is ambiguous is guessed."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
import unicodedata

import pandas as pd

from analysis_lib.cohort.columns import BY_NAME
from analysis_lib.cohort.table_files import ClinicalTableError, RawTable, fold
from analysis_lib.core.clinical_params import ClinicalParams

DAYS_PER_MONTH = 30.4375
EMPTY = {"", "na", "nan", "n/a", "none", "null", ".", "-", "#n/a"}
LONGEST_MONTHS = BY_NAME["os_months"].high or math.inf
DATES = ("surgery_date", "death_date", "recurrence_date", "last_contact_date")
NATURAL_CODES = {
    "sex": {"m": "M", "male": "M", "f": "F", "female": "F"},
    "flag": {"0": "0", "1": "1", "no": "0", "yes": "1", "false": "0", "true": "1"},
    "rfs_cause": {"recurrence": "recurrence", "death": "death"},
}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
THOUSANDS = [  # and the decimal sign beside which they can be told
    (re.compile(r"[+-]?[1-9]\d{0,2}(?P<group>[ '\u2019\u00a0\u202f])\d{3}((?P=group)\d{3})*([.,]\d+)?"), "any"),
    (re.compile(r"[+-]?[1-9]\d{0,2}(?P<group>,)\d{3}(,\d{3})*(\.\d+)?"), "."),
    (re.compile(r"[+-]?[1-9]\d{0,2}(?P<group>\.)\d{3}(\.\d{3})*(,\d+)?"), ","),
]
FEWEST_ON_ONE_DAY = 3  # patients with one last contact
ALIKE = 0.8  # of two headings, from which a column that is not used may be meant
ECHO_DIGITS = 5  # a longer number may be a date of birth or an accession number that slipped into the column


def rename(table: RawTable, settings: ClinicalParams, known: list[str], required: list[str]) -> RawTable:
    """The columns under the study's names, others left out. Raises ClinicalTableError naming what is missing."""
    present = {fold(name): name for name in table.cells.columns}
    chosen: dict[str, str] = {}
    for ours, theirs in settings.columns.items():
        if ours not in known:
            raise ClinicalTableError(f"clinical.columns: '{ours}' is no column of the study{near(ours, known)}")
        if fold(theirs) not in present:
            close = near(fold(theirs), list(present))
            raise ClinicalTableError(f"clinical.columns: the table has no column '{theirs}' for {ours}{close}")
        if (
            fold(theirs) != fold(ours)
            and fold(ours) in present
            and fold(ours) not in map(fold, settings.columns.values())
        ):
            raise ClinicalTableError(
                f"clinical.columns maps '{theirs}' to {ours}, but the table has a column {ours} too; delete one"
            )
        chosen[ours] = present[fold(theirs)]
    taken = set(chosen.values())
    for name in known:
        if name not in chosen and name in present and present[name] not in taken:
            chosen[name] = present[name]
    missing = [name for name in required if name not in chosen]
    if missing:
        hints = [near(name, [p for p in present if present[p] not in chosen.values()]) for name in missing]
        listed = ", ".join(name + hint for name, hint in zip(missing, hints, strict=True))
        raise ClinicalTableError(
            f"the clinical table lacks the column(s) {listed}; add them or map them in clinical.columns "
            "(columns: docs/data_dictionary.md)"
        )
    spare = {folded: name for folded, name in present.items() if name not in chosen.values()}
    for name in (n for n in known if n not in chosen):
        if alike := difflib.get_close_matches(name, spare, n=1, cutoff=ALIKE):
            table.doubts.append(
                f"the table has a column {spare[alike[0]]} that is not used; did you mean {name}? Rename it, or map it "
                "in clinical.columns"
            )
    cells = table.cells[list(chosen.values())].set_axis(list(chosen), axis=1)
    dates = {ours for ours, theirs in chosen.items() if theirs in table.date_columns}
    return RawTable(cells, table.complaints, dates, table.doubts)


def near(name: str, known: list[str]) -> str:
    """End of a message on an unknown name: the nearest of ``known``, or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f" (did you mean '{close[0]}'?)" if close else ""


def shown(text: str) -> str:
    """A cell as it may stand in a message: short numbers alone, since any text may be a name."""
    if NUMBER.fullmatch(text.replace(",", ".")) and sum(c.isdigit() for c in text) <= ECHO_DIGITS:
        return text
    digits = re.sub(r"\D", "", text)
    return f"a number of {len(digits)} digits" if digits == text and text else "text"


def is_empty(text: pd.Series) -> pd.Series:
    """Which cells hold nothing, or a word for it."""
    return text.str.lower().isin(EMPTY)


def number(text: str, settings: ClinicalParams, continental: bool) -> tuple[float, str]:
    """Value of one cell and what is wrong with it ('' if nothing)."""
    lowered = text.lower()
    if lowered in EMPTY:
        return float("nan"), ""
    if re.fullmatch(r"[+-]?inf(inity)?", lowered):
        return float("nan"), "is infinite; give a number or leave it empty"
    text = _ungrouped(text, settings.decimal)
    sign = "," if "," in text else "."
    plain = text.replace(",", ".") if text.count(",") + text.count(".") <= 1 else text
    if ISO_DATE.fullmatch(text):
        why = "is a date, as Excel makes of 12.5; format the column as number and type the values again"
        return float("nan"), why
    if not NUMBER.fullmatch(plain):
        return float("nan"), f"is not a number ({shown(text)}); give a number or leave it empty"
    if settings.decimal not in ("auto", sign) and sign in text:
        return float("nan"), f"is not a number with the decimal sign of clinical.decimal ({shown(text)}); mend it"
    usual = "," if continental else "."
    if settings.decimal == "auto" and sign != usual and re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", text):
        return float("nan"), f"can be read in two ways ({shown(text)}); set clinical.decimal to '.' or ','"
    return float(plain), ""


def _ungrouped(text: str, decimal: str) -> str:
    """The number without the signs between its thousands, where they can be nothing else."""
    for pattern, point in THOUSANDS:
        if found := pattern.fullmatch(text):
            group = found["group"]
            if point in ("any", decimal) or (decimal == "auto" and (text.count(group) > 1 or point in text)):
                return text.replace(group, "")
    return text


def is_continental(table: RawTable, numeric: list[str]) -> bool:
    """Whether decimal commas are usual in the table: it has some, and no decimal points."""
    cells = table.cells[[c for c in numeric if c in table.cells]].to_numpy().ravel()
    commas = sum(bool(re.fullmatch(r"[+-]?\d+,(\d{1,2}|\d{4,})", c)) for c in cells)
    points = sum(bool(re.fullmatch(r"[+-]?\d+\.\d+", c)) for c in cells)
    return commas > points


def code(column: str, kind: str, text: str, settings: ClinicalParams, allowed: list[str]) -> tuple[str, str]:
    """The study's code for one cell of a coded column, and what is wrong with it ('' if nothing)."""
    if text.lower() in EMPTY:
        return "", ""
    key = plain_code(text)
    mapped = settings.codes.get(column)
    if mapped is not None:
        for ours, theirs in mapped.items():
            if key in map(plain_code, theirs):
                return ours, ""
        return "", f"{column} is {shown(text)}, which clinical.codes.{column} does not list; add it or mend the cell"
    natural = NATURAL_CODES.get(kind)
    if natural is None:
        if text in allowed:
            return text, ""
        return "", f"{column} ({shown(text)}) is none of {', '.join(allowed)}{near(text, allowed)}"
    if key in natural:
        return natural[key], ""
    example = "{M: [1], F: [2]}" if kind == "sex" else "{1: [2], 0: [1]}" if kind == "flag" else "{recurrence: [1]}"
    return "", (
        f"{column} {shown(text)} is none of {', '.join(dict.fromkeys(natural.values()))}; if it is a code, say what it "
        f"means, as in clinical.codes.{column}: {example}"
    )


def plain_code(text: str) -> str:
    """A coded cell as codes are compared: without case and the zero decimals of Excel, letters composed as one."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", unicodedata.normalize("NFC", text.strip())).casefold()


def check_codes(settings: ClinicalParams, coded: dict[str, list[str]]) -> None:
    """Raise ClinicalTableError where ``clinical.codes`` names no coded column or no code of it."""
    for column, codes in settings.codes.items():
        if column not in coded:
            raise ClinicalTableError(f"clinical.codes: '{column}' is no coded column{near(column, list(coded))}")
        if wrong := [ours for ours in codes if ours not in coded[column]]:
            raise ClinicalTableError(
                f"clinical.codes.{column}: '{wrong[0]}' is none of {', '.join(coded[column])}; ours comes first"
            )


def dates_to_months(table: RawTable, settings: ClinicalParams, today: dt.date, set_names: list[str]) -> None:
    """Add os_months, os_event, rfs_months, rfs_event and rfs_cause in place from dates, where the table has dates.

    Death or else last contact ends OS, the first of recurrence and death RFS. Dates are never shown.
    """
    cells = table.cells
    if wrong := [name for name in settings.dates.rfs_sets or [] if name not in set_names]:
        raise ClinicalTableError(f"clinical.dates.rfs_sets: '{wrong[0]}' is no set{near(wrong[0], set_names)}")
    if "surgery_date" not in cells:
        return
    with_rfs = "recurrence_date" in cells
    names = ["os_months", "os_event"] + (["rfs_months", "rfs_event", "rfs_cause"] if with_rfs else [])
    if given := [c for c in names if c in cells]:
        why = "surgery_date" if given[0].startswith("os_") else "recurrence_date"
        raise ClinicalTableError(f"the clinical table has {given[0]} and {why}; keep months or dates, not both")
    if "last_contact_date" not in cells or "death_date" not in cells:
        raise ClinicalTableError("surgery_date needs death_date and last_contact_date; map them in clinical.columns")
    made = pd.DataFrame("", index=cells.index, columns=names, dtype=object)
    closing = _closing_day(table)
    for row in cells.index:
        found: dict[str, dt.date | None] = {}
        wrong_dates = False
        for name in (d for d in DATES if d in cells):
            day, problem = _date(cells.at[row, name], name in table.date_columns, settings, name)
            found[name] = day
            if not problem and day and day > today:
                problem = f"{name} lies in the future; mend it"
            if problem:
                table.complain(row, problem)
                wrong_dates = True
        surgery, death = found["surgery_date"], found["death_date"]
        last, recurrence = found["last_contact_date"], found.get("recurrence_date")
        if not wrong_dates:
            if death and last and last > death and cells.at[row, "last_contact_date"] == closing:
                last = death
            for problem in _order_of_dates(surgery, death, recurrence, last):
                table.complain(row, problem)
                wrong_dates = True
        end = death or last
        if wrong_dates or surgery is None or end is None:  # as told
            continue
        made.loc[row, ["os_months", "os_event"]] = [_months(surgery, end), "1" if death else "0"]
        own_set, _ = code("set", "set", cells.at[row, "set"], settings, set_names)
        followed = settings.dates.rfs_sets is None or own_set in settings.dates.rfs_sets
        if with_rfs and followed:
            first = recurrence or end
            cause = "recurrence" if recurrence else "death" if death else ""
            made.loc[row, ["rfs_months", "rfs_event", "rfs_cause"]] = [
                _months(surgery, first),
                "1" if cause else "0",
                cause,
            ]
    table.cells = cells.join(made)


def _closing_day(table: RawTable) -> str:
    """The cell that is the last contact of most patients, as the day of an export is: it says of the dead nothing."""
    days = table.cells["last_contact_date"]
    counts = days[~is_empty(days)].value_counts()
    if counts.empty or counts.iloc[0] < FEWEST_ON_ONE_DAY or counts.iloc[0] <= counts.sum() / 2:
        return ""
    table.doubts.append(
        f"last_contact_date is one day for {counts.iloc[0]} of {counts.sum()} patients, as the day of an export or of "
        "closing is: those without a death are taken as alive on it, and a death before it ends follow-up"
    )
    return counts.index[0]


def _order_of_dates(
    surgery: dt.date | None, death: dt.date | None, recurrence: dt.date | None, last: dt.date | None
) -> list[str]:
    problems = []
    if surgery is None:
        return ["surgery_date is missing; add it"]
    if death is None and last is None:
        return ["death_date and last_contact_date are both missing; one is needed"]
    for name, day in (("death_date", death), ("last_contact_date", last), ("recurrence_date", recurrence)):
        if day and day < surgery:
            problems.append(f"{name} is before surgery_date; mend the dates (day and month exchanged?)")
    if death and last and last > death:
        problems.append("last_contact_date is after death_date; mend the dates")
    end = death or last
    if recurrence and end and recurrence > end:
        problems.append("recurrence_date is after death or last contact; mend the dates")
    if end and (end - surgery).days / DAYS_PER_MONTH > LONGEST_MONTHS:
        years = LONGEST_MONTHS / 12
        problems.append(f"surgery_date and the end of follow-up lie more than {years:g} years apart; mend the dates")
    return problems


def _months(start: dt.date, end: dt.date) -> str:
    return repr((end - start).days / DAYS_PER_MONTH)


def _date(text: str, real: bool, settings: ClinicalParams, name: str) -> tuple[dt.date | None, str]:
    if text.lower() in EMPTY:
        return None, ""
    if real and ISO_DATE.fullmatch(text):
        return dt.date.fromisoformat(text), ""
    if not settings.dates.format:
        return None, f"{name} is text; say how dates are written in clinical.dates.format, for example '%d.%m.%Y'"
    try:
        return dt.datetime.strptime(text, settings.dates.format).date(), ""
    except ValueError:
        return None, f"{name} is no date of the form {settings.dates.format}; mend it or clinical.dates.format"
