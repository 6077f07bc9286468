"""Which cells of two tables differ, and which of them change a conclusion, by ``tests/expected/conclusions.yaml``.

Both tables hold text as it stands in the file. Nothing is computed again: a cell is judged by what it is (a hazard
ratio, a P, a number of patients), an interval by the nulls that it holds, a published value by the interval around it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd

from analysis_lib.core.artefacts import describe
from analysis_lib.review.conclusions import ConclusionError, Conclusions, Quantity, Rule, Spread, TableRules

CELLS = ["file", "row", "column", "quantity", "expected", "found", "difference", "conclusion"]
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
PRINTED_P = re.compile(r"\bP[=<]")
ALPHA = 0.05
GRAIN = 1e-9  # nearer to a null than this is at the null; a smaller difference of two P is none
SHARE_OF_WIDTH = 0.05
NOT_NAMED = (
    "synthetic",
    "covariates",
    "source",
    "in_paper",
    "inside",
    "part",
    "replicate",
    "region",
    "image",
)  # labels that a reader needs not to find the row


def compare_tables(expected: pd.DataFrame, found: pd.DataFrame, stem: str, conclusions: Conclusions) -> pd.DataFrame:
    """Cells of ``<stem>.csv`` that differ: CELLS, ``conclusion`` empty where only digits do.

    ``difference`` is |found - expected|, relative where the expected number is above 1; NaN for words. Raises
    ConclusionError where a column has no rule.
    """
    rules = conclusions.of(stem)
    for column in [*expected.columns, *found.columns]:
        if column not in rules.columns:
            raise ConclusionError(
                f"{stem}.csv: column {column} has no rule in tests/expected/conclusions.yaml; write one"
            )
    if expected.equals(found):
        return pd.DataFrame(columns=CELLS)
    cells = [*_absent_columns(expected, found)]
    common = [c for c in expected.columns if c in found.columns]
    expected, found = expected[common], found[common]
    if rules.spread:
        cells += _judged_spread(expected, found, rules.spread)
        if len(expected) == len(found):
            for rule in rules.spread.rules:
                cells += [
                    _cell(k, "", rule.column, rule.quantity, a, b)
                    for k, a, b in _differing(expected, found, rule.column)
                ]
    if not rules.labels:  # nothing is compared row by row
        return _frame(cells, stem)
    labels = [c for c in rules.labels if c in common]
    expected, found, rows = _aligned(expected, found, labels)
    cells += rows
    names = _row_names(expected, labels)
    strict = None if describe(stem).model or stem == "risk" else conclusions.rounding
    for rule, mask in _rules_by_row(expected, rules, stem):
        cells += _judged(expected, found, names, rule, mask, strict)
    for value, low, high in rules.inside:
        cells += _judged_inside(expected, found, names, value, low, high)
    return _frame(cells, stem)


def _rules_by_row(table: pd.DataFrame, rules: TableRules, stem: str) -> Iterator[tuple[Rule, np.ndarray]]:
    everywhere = np.ones(len(table), dtype=bool)
    yield from ((rule, everywhere) for rule in rules.rules)
    for column, cases in rules.by.items():
        found = {words: {cell: bool(re.search(words, cell)) for cell in table[column].unique()} for words in cases}
        masks = {words: table[column].map(found[words]).to_numpy(bool) for words in cases}
        matches = np.sum([*masks.values()], axis=0) if len(table) else everywhere
        if (matches != 1).any():
            row = table[column][matches != 1].iloc[0]
            raise ConclusionError(f"{stem}.csv: conclusions.yaml has no rule, or two, for the row '{row}'")
        yield from ((rule, masks[words]) for words, part in cases.items() for rule in part)


# ---- rows and columns ----------------------------------------------------------------------------------------


def _absent_columns(expected: pd.DataFrame, found: pd.DataFrame) -> Iterator[dict]:
    for column in expected.columns.symmetric_difference(found.columns, sort=False):
        states = ("present", "absent") if column in expected else ("absent", "present")
        yield _change("", column, "column", *states, "a column came or went")


def _aligned(
    expected: pd.DataFrame, found: pd.DataFrame, labels: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    """The rows that both have, in the order of ``expected``, and what is to be told of the others."""
    expected, found = expected.reset_index(drop=True), found.reset_index(drop=True)
    if expected[labels].equals(found[labels]):
        return expected, found, []
    keys = [_keys(table, labels) for table in (expected, found)]
    gone, new = (a[~a.isin(b)] for a, b in (keys, keys[::-1]))
    gone, new = (_row_names(table.loc[rows.index], labels) for table, rows in ((expected, gone), (found, new)))
    cells = [_change(name, "", "row", "present", "absent", "a row is missing") for name in gone]
    cells += [_change(name, "", "row", "absent", "present", "a row is new") for name in new]
    common = keys[0][keys[0].isin(keys[1])]
    place = pd.Series(keys[1].index, index=pd.MultiIndex.from_tuples(keys[1])).loc[list(common)] if len(common) else []
    if not cells:
        cells = [_change("", "", "rows", "their order", "another order", "rows stand in another order")]
    return expected.loc[common.index].reset_index(drop=True), found.loc[list(place)].reset_index(drop=True), cells


def _keys(table: pd.DataFrame, labels: list[str]) -> pd.Series:
    again = table.groupby(labels, sort=False, dropna=False).cumcount() if len(table) else pd.Series(dtype=int)
    return pd.Series(list(zip(*(table[c] for c in labels), again, strict=True)), index=table.index, dtype=object)


def _row_names(table: pd.DataFrame, labels: list[str]) -> list[str]:
    """What names each row to a reader, as 'set lt, model TFDeepSurv'."""
    named = [c for c in labels if c not in NOT_NAMED]
    rows = table[named].itertuples(index=False) if named else [()] * len(table)
    return [", ".join(f"{c} {value}" for c, value in zip(named, row, strict=True) if value != "") for row in rows]


# ---- cells ---------------------------------------------------------------------------------------------------


def _judged(
    expected: pd.DataFrame,
    found: pd.DataFrame,
    names: list[str],
    rule: Rule,
    mask: np.ndarray,
    strict: tuple[float, float] | None,
) -> list[dict]:
    cells, changed = [], set()
    cell_of = {c: (expected[c].tolist(), found[c].tolist()) for c in rule.columns if c in expected}
    ends = [cell_of[c] for c in (rule.low, rule.high) if c in cell_of]
    for column in cell_of:
        for k, a, b in _differing(expected, found, column):
            if not mask[k]:
                continue
            interval = [_number(then[k]) for then, _ in ends] if column != rule.column else None
            cell = _cell(k, names[k], column, rule.quantity, a, b)
            cell["conclusion"] = _conclusion(rule.quantity, a, b, interval, strict)
            cells.append(cell)
            changed.add(k)
    for k in sorted(changed) if len(ends) == 2 else ():
        then, now = ([end[which][k] for end in ends] for which in (0, 1))
        for null in rule.quantity.nulls:
            before, after = (_holds(_number(low), _number(high), null) for low, high in (then, now))
            if before != after and None not in (before, after):
                why = f"the interval {'now holds' if after else 'no longer holds'} {null:g}"
                was, is_now = (" to ".join(interval) for interval in (then, now))
                cells.append(_change(names[k], f"{rule.low}, {rule.high}", rule.quantity.name, was, is_now, why))
    return cells


def _conclusion(
    quantity: Quantity, a: str, b: str, interval: list[float | None] | None, strict: tuple[float, float] | None
) -> str:
    """What of the finding changes when a cell says ``b`` and not ``a``; empty if nothing does."""
    if quantity.how == "text":
        return "another word"
    if quantity.how == "words":
        return "" if _same_words(a, b) else "other words or numbers"
    x, y = _number(a), _number(b)
    if x is None or y is None:
        return "a number came or went"
    if strict and not abs(y - x) <= strict[1] + strict[0] * abs(x):
        away = "more than rounding, in a table that no trained network enters"
    else:
        away = ""
    if quantity.how == "p":
        return _p_changes(x, y, quantity.absolute) or away
    for null in quantity.nulls if quantity.sign and interval is None else ():
        if _side(x, null) != _side(y, null):
            return f"crosses {null:g}"
    if abs(y - x) <= quantity.absolute + quantity.relative * abs(x) or (
        interval and _end_near(quantity, x, y, *interval)
    ):
        return away
    allowed = " or ".join(f"{v:g}{u}" for v, u in ((100 * quantity.relative, "%"), (quantity.absolute, "")) if v)
    return f"differs by more than {allowed}" if allowed else "must be equal"


def _p_changes(x: float, y: float, deviates: float) -> str:
    # a P of a few hundred replicates can be 0.05 itself, and the next number below is the same finding
    if (x < ALPHA) != (y < ALPHA) and abs(x - y) > GRAIN:
        return f"crosses {ALPHA:g}"
    then, now = (NormalDist().inv_cdf(min(max(p, 1e-300), 1.0) / 2) for p in (x, y))
    return "" if abs(then - now) <= deviates else f"its normal deviate differs by more than {deviates:g}"


def _end_near(quantity: Quantity, x: float, y: float, low: float | None, high: float | None) -> bool:
    """Whether an end of an interval moved by no more than a share of the interval's width."""
    if low is None or high is None or not all(map(math.isfinite, values := [low, high, x, y])):
        return False
    if quantity.ratio:
        if min(values) <= 0:
            return False
        low, high, x, y = map(math.log, values)
    return abs(y - x) <= SHARE_OF_WIDTH * (high - low)


def _holds(low: float | None, high: float | None, null: float) -> bool | None:
    return None if low is None or high is None else low - GRAIN <= null <= high + GRAIN


def _judged_inside(
    expected: pd.DataFrame, found: pd.DataFrame, names: list[str], value: str, low: str, high: str
) -> Iterator[dict]:
    rows = [t[[value, low, high]].itertuples(index=False, name=None) for t in (expected, found)]
    for name, a, b in zip(names, *rows, strict=True):
        then, now = ([_number(cell) for cell in row] for row in (a, b))
        if a == b or then[0] is None or now[0] is None:
            continue
        if _holds(then[1], then[2], then[0]) == _holds(now[1], now[2], now[0]):
            continue
        was, is_now = (f"{row[0]} in {row[1]} to {row[2]}" for row in (a, b))
        yield _change(name, value, "published value", was, is_now, "enters or leaves our interval")


def _judged_spread(expected: pd.DataFrame, found: pd.DataFrame, spread: Spread) -> list[dict]:
    """Number, mean and SD of each column by group, of a ratio the geometric ones."""
    summaries = [_summary(table, spread) for table in (expected, found)]
    cells = []
    for (group, column), then in summaries[0].items():
        now = summaries[1].get((group, column))
        quantity = next(r.quantity for r in spread.rules if r.column == column)
        for what in ("number", "mean", "SD"):
            a, b = then[what], math.nan if now is None else now[what]
            loose = replace(quantity, nulls=()) if what != "number" else Quantity("count", "")
            # where no row has a number there is neither mean nor SD, and of one row no SD
            why = "" if math.isnan(a) and math.isnan(b) else _conclusion(loose, str(a), str(b), None, None)
            if why:
                cells.append(_change(group, f"{what} of {column}", quantity.name, f"{a:.6g}", f"{b:.6g}", why))
    for group, column in summaries[1].keys() - summaries[0].keys():
        cells.append(_change(group, column, "group of rows", "absent", "present", "a group of rows is new"))
    return cells


def _summary(table: pd.DataFrame, spread: Spread) -> dict[tuple[str, str], dict[str, float]]:
    columns = [r.column for r in spread.rules]
    numbers = table[columns].apply(pd.to_numeric, errors="coerce")
    ratios = [r.column for r in spread.rules if r.quantity.ratio]
    numbers[ratios] = np.log(numbers[ratios])
    table = pd.concat([table[[*spread.over, *spread.last]], numbers], axis=1)
    if spread.last:
        table = table.groupby([*spread.over, *spread.last], sort=False).last().reset_index()
    found = {}
    for key, part in table.groupby(spread.over, sort=False):
        name = ", ".join(f"{c} {v}" for c, v in zip(spread.over, key, strict=True) if c not in NOT_NAMED or c == "part")
        for column in columns:
            values = part[column].dropna()
            moments = {"mean": values.mean(), "SD": values.std()}
            if column in ratios:
                moments = {what: math.exp(v) for what, v in moments.items()}
            found[name, column] = {"number": float(len(values)), **moments}
    return found


def _differing(expected: pd.DataFrame, found: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    if column not in expected:
        return []
    a, b = expected[column].to_numpy(object), found[column].to_numpy(object)
    return [(int(k), a[k], b[k]) for k in np.flatnonzero(a != b)]


def _cell(place: int, row: str, column: str, quantity: Quantity, a: str, b: str) -> dict:
    x, y = _number(a), _number(b)
    gap = math.nan if x is None or y is None else abs(y - x) / max(1.0, abs(x))
    return dict(zip(CELLS[1:], (row, column, quantity.name, a, b, gap, ""), strict=True)) | {"place": place}


def _change(row: str, column: str, quantity: str, a: str, b: str, conclusion: str) -> dict:
    return dict(zip(CELLS[1:], (row, column, quantity, a, b, math.nan, conclusion), strict=True))


def _frame(cells: list[dict], stem: str) -> pd.DataFrame:
    """The cells, each once: a column may be the estimate of several intervals."""
    rows = pd.DataFrame([{"file": f"{stem}.csv", **cell} for cell in cells], columns=[*CELLS, "place"])
    return rows.drop_duplicates(["place", "row", "column", "conclusion"])[CELLS].reset_index(drop=True)


def _number(text: object) -> float | None:
    """A number, None for an empty cell or a word; NaN counts as empty."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _side(value: float, null: float) -> int:
    return 0 if abs(value - null) <= GRAIN else int(math.copysign(1, value - null))


def _same_words(a: str, b: str) -> bool:
    """Words and whole numbers equal, decimals to one in the last digit, each P on the same side of 0.05."""
    a, b = (PRINTED_P.sub("P=", text) for text in (a, b))
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    for x, y in zip(NUMBER.finditer(a), NUMBER.finditer(b), strict=True):
        digits = len(x.group().partition(".")[2])
        if abs(float(x.group()) - float(y.group())) > (1.01 * 10.0**-digits if digits else 0):
            return False
        # a printed 0.05 lies on neither side, so that it agrees with itself alone
        if a[: x.start()].endswith("P=") and np.sign(float(x.group()) - ALPHA) != np.sign(float(y.group()) - ALPHA):
            return False
    return True


__all__ = ["CELLS", "NUMBER", "compare_tables"]
