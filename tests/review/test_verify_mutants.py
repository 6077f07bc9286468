"""A changed finding is noticed wherever it is printed: one number of the committed tables is changed at a time.

The mutants are made from the rules of conclusions.yaml, for every column of every table of both studies. Their sizes
are stated here, apart from the tolerances: a hazard ratio by 10%, a C-index by 0.02, one patient.
"""

import math
import re
from functools import cache, partial
from itertools import product

import numpy as np
import pandas as pd
import pytest

from analysis_lib.core.project import Project
from analysis_lib.review.conclusions import read_conclusions
from analysis_lib.review.expectation import expected_tables
from analysis_lib.review.judge import compare_tables

STUDIES = ("smoke", "standin")
EXPECTED = Project().expected
CONCLUSIONS = read_conclusions(EXPECTED / "conclusions.yaml")
# How far a number of each quantity is moved: a share of itself, or this much. A reader would call it another result.
SHARE = {
    **dict.fromkeys(["hazard ratio", "ratio", "calibration slope", "Brier score", "months", "loss"], 0.1),
    **dict.fromkeys(["measured", "fixed"], 0.01),
    **dict.fromkeys(["width of interval", "reconstruction error"], 0.25),
}
AMOUNT = {
    **dict.fromkeys(
        [
            "C-index",
            "C-index of permuted outcomes",
            "AUC",
            "difference of C-index",
            "loss of C-index",
            "explained variance",
            "Monte Carlo error",
        ],
        0.02,
    ),
    **dict.fromkeys(["survival", "predicted risk", "net benefit", "ICI"], 0.03),
    **dict.fromkeys(["skill", "share", "moment of risk"], 0.05),
    **dict.fromkeys(["observed risk of a tenth", "net reclassification"], 0.1),
    **dict.fromkeys(["share near the cut-off"], 0.2),
    **dict.fromkeys(["share of networks"], 0.3),  # three of ten
    **dict.fromkeys(["count"], 1),
    **dict.fromkeys(["months of difference"], 1.0),
    **dict.fromkeys(["likelihood ratio", "near the cut-off"], 5),
}
# Rows of each rule that are changed, spread over those that it has a number in.
ROWS = [1, pytest.param(3, marks=pytest.mark.slow)]
SLOW = "standin"  # the rules are one and the same; its tables are longer


@cache
def tables(study):
    return expected_tables(EXPECTED / study)


def every_table():
    slow = {SLOW: [pytest.mark.slow]}
    return [pytest.param(study, name, marks=slow.get(study, [])) for study in STUDIES for name in tables(study)]


def conclusions_changed(expected, found, stem):
    cells = compare_tables(expected, found, stem, CONCLUSIONS)
    return cells[cells["conclusion"] != ""]


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


@cache
def says(words, text):
    return bool(re.search(words, text))


def rows_by_rule(stem, table, rows_changed):
    """Each rule with some of the rows in which its column says something."""
    rules = CONCLUSIONS.of(stem)
    rows = {rule: range(len(table)) for rule in rules.rules}
    for column, cases in rules.by.items():
        for words, part in cases.items():
            rows |= {rule: [k for k, text in enumerate(table[column]) if says(words, text)] for rule in part}
    for rule, among in rows.items():
        filled = [k for k in among if rule.column in table and table[rule.column].iloc[k] != ""]
        if filled:
            yield rule, sorted({filled[round(k)] for k in np.linspace(0, len(filled) - 1, rows_changed)})


def with_cell(table, k, column, value):
    changed = table.copy()
    changed.iloc[k, changed.columns.get_loc(column)] = value if isinstance(value, str) else repr(float(value))
    return changed


def moved(quantity, value):
    """A value that a reader would call another result, one below and one above."""
    if quantity.name in SHARE:
        return [value * (1 - SHARE[quantity.name]) - (value == 0), value * (1 + SHARE[quantity.name]) + (value == 0)]
    return [value - AMOUNT[quantity.name], value + AMOUNT[quantity.name]]


def mutants_of_cells(stem, table, rows_changed):
    """What is changed in one row, in words, and the changed table."""
    for rule, k in ((rule, k) for rule, rows in rows_by_rule(stem, table, rows_changed) for k in rows):
        text = table[rule.column].iloc[k]
        value, how = number(text), rule.quantity.how
        if how == "text":
            yield f"{rule.column}: another word", with_cell(table, k, rule.column, text + "x")
        elif how == "words":
            yield f"{rule.column}: another word", with_cell(table, k, rule.column, text + " x")
            for found in re.finditer(r"\d+", text):  # the first digit of each number
                other = text[: found.start()] + str((int(text[found.start()]) + 2) % 10) + text[found.start() + 1 :]
                yield f"{rule.column}: {text!r} to {other!r}", with_cell(table, k, rule.column, other)
        elif how == "p" and value is not None:
            across = math.nextafter(0.05, 1) if value < 0.05 else math.nextafter(0.05, 0)
            yield f"{rule.column}: P across 0.05", with_cell(table, k, rule.column, across)
        elif value is not None:
            for other in moved(rule.quantity, value):
                yield f"{rule.column}: {value} to {other}", with_cell(table, k, rule.column, other)
            yield f"{rule.column}: empty", with_cell(table, k, rule.column, "")
        if value is not None and rule.quantity.sign and not rule.low:
            for null in rule.quantity.nulls:  # to the other side by a hair
                other = null - math.copysign(1e-6, value - null) if abs(value - null) > 1e-6 else null + 1e-3
                yield f"{rule.column}, row {k}: across {null}", with_cell(table, k, rule.column, other)
        yield from ends_across_nulls(rule, table, k)


def ends_across_nulls(rule, table, k):
    """An interval that held its null and does not, or the other way round, by a hair."""
    if not (rule.low in table and rule.high in table):
        return
    low, high = number(table[rule.low].iloc[k]), number(table[rule.high].iloc[k])
    if low is None or high is None:
        return
    for null in rule.quantity.nulls:
        if low - 1e-9 <= null <= high + 1e-9:
            yield f"{rule.low}: above {null}", with_cell(table, k, rule.low, null + 1e-6)
            yield f"{rule.high}: below {null}", with_cell(table, k, rule.high, null - 1e-6)
        else:
            end = rule.low if null < low else rule.high
            yield f"{end}: onto {null}", with_cell(table, k, end, null)
    if high > low and rule.quantity.name in {**SHARE, **AMOUNT}:
        if rule.quantity.ratio and low > 0:
            wider = low * (low / high) ** 0.2, high * (high / low) ** 0.2
        else:
            wider = low - 0.2 * (high - low), high + 0.2 * (high - low)
        below, above = min(wider[0], *moved(rule.quantity, low)), max(wider[1], *moved(rule.quantity, high))
        yield f"{rule.low}, row {k}: {low} to {below}", with_cell(table, k, rule.low, below)
        yield f"{rule.high}, row {k}: {high} to {above}", with_cell(table, k, rule.high, above)


def published_out_or_in(stem, table):
    for (value, low, high), k in product(CONCLUSIONS.of(stem).inside, range(len(table))):
        v, a, b = (number(table[c].iloc[k]) for c in (value, low, high))
        if None in (v, a, b):
            continue
        if a <= v <= b:
            yield f"{value} leaves above", with_cell(table, k, high, v - 1e-6)
            yield f"{value} leaves below", with_cell(table, k, low, v + 1e-6)
        else:
            end = low if v < a else high
            yield f"{value} enters", with_cell(table, k, end, v)


def mutants_of_table(stem, table):
    """Rows that go, come twice or change their names."""
    if not CONCLUSIONS.of(stem).labels or len(table) < 2:
        return
    yield "a row is dropped", table.drop(index=len(table) // 2)
    yield "a row is added", pd.concat([table, table.tail(1)], ignore_index=True)
    yield "a column is dropped", table.drop(columns=table.columns[-1])
    for label in CONCLUSIONS.of(stem).labels:
        if label not in table or table[label].nunique() < 2:
            continue
        a, b = table[label].drop_duplicates().index[:2]
        swapped = table.copy()
        swapped.loc[[a, b], label] = table.loc[[b, a], label].to_numpy()
        yield f"two rows swap their {label}", swapped
        names = dict(zip(table.loc[[a, b], label], table.loc[[b, a], label], strict=True))
        yield f"{label} {' and '.join(names)} are swapped", table.assign(**{label: table[label].replace(names)})


def mutants_of_spread(stem, table):
    """Columns that are judged by their distribution move as a whole, by the size of the others."""
    spread = CONCLUSIONS.of(stem).spread
    for rule in spread.rules if spread else ():
        values = pd.to_numeric(table[rule.column], errors="coerce")
        if values.isna().all():
            continue
        for k, other in enumerate(zip(*(moved(rule.quantity, v) for v in values), strict=True)):
            column = ["" if math.isnan(v) else repr(v) for v in other]
            yield f"{rule.column} as a whole, {('down', 'up')[k]}", table.assign(**{rule.column: column})
        if values.notna().sum() > 1:
            yield f"{rule.column}: empty", table.assign(**{rule.column: ""})


@pytest.mark.parametrize("rows_changed", ROWS)
@pytest.mark.parametrize(("study", "name"), every_table())
def test_every_mutant_is_noticed(study, name, rows_changed):
    table, stem = tables(study)[name], name.removesuffix(".csv")
    if table.empty:
        pytest.skip(f"{study}/{name} has no row")
    of_cells = partial(mutants_of_cells, rows_changed=rows_changed)
    makers = [mutants_of_table, mutants_of_spread, of_cells, published_out_or_in]
    tried, survived = 0, []
    for what, mutant in (mutant for maker in makers for mutant in maker(stem, table)):
        tried += 1
        if conclusions_changed(table, mutant, stem).empty:
            survived.append(what)
    # a label that all rows share has no mutant: nothing can be swapped
    shared = [label for label in CONCLUSIONS.of(stem).labels if label in table and table[label].nunique() < 2]
    assert survived == [] and tried >= len(table.columns) - len(shared)


@pytest.mark.parametrize("study", STUDIES)
def test_the_twelfth_digit_changes_no_conclusion(study):
    rng = np.random.default_rng(12)
    differing = 0
    for name, table in tables(study).items():
        stem, other = name.removesuffix(".csv"), table.copy()
        rules = CONCLUSIONS.of(stem)
        words = {r.column for r in rules.rules if r.quantity.how in ("text", "words")}
        grouping = {*rules.spread.over, *rules.spread.last} if rules.spread else set()
        for column in table.columns.difference([*words, *grouping], sort=False):
            noise = 1 + 1e-12 * rng.uniform(-1, 1, len(table))
            cells = zip(table[column], noise, strict=True)
            other[column] = [repr(float(float(a) * e)) if number(a) is not None and "." in a else a for a, e in cells]
        cells = compare_tables(table, other, stem, CONCLUSIONS)
        assert cells[cells["conclusion"] != ""].empty, name
        differing += len(cells)
    assert differing > 10_000
