"""conclusions.yaml: every column of every table has a rule and every rule a reason."""

import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis_lib.core.artefacts import VALIDATION
from analysis_lib.core.project import Project
from analysis_lib.review.conclusions import ConclusionError, read_conclusions
from analysis_lib.review.expectation import expected_tables
from analysis_lib.review.judge import compare_tables

STUDIES = ("smoke", "standin")
EXPECTED = Project().expected
CONCLUSIONS = read_conclusions(EXPECTED / "conclusions.yaml")
PRINTED = re.compile(r"-?\d+(?:\.\d+)?")
# Where the numbers of a figure's text stand: its panel's row in a table, column by column in the order of the text.
SETS = {"fig2": ("discovery", "OS"), "figS1": ("discovery", "RFS"), "figS2": ("external", "OS"), "figS3": ("lt", "OS")}
ASKED = {Path(file).stem for files in VALIDATION.values() for file in files}  # of a model that somebody names
ASKED |= {"competing_risks", "risk_group_models"}  # of parameters that are off


@cache
def tables(study):
    return expected_tables(EXPECTED / study)


@pytest.mark.parametrize("study", STUDIES)
def test_every_column_of_every_table_has_a_rule(study):
    without = {
        name: missing
        for name, table in tables(study).items()
        if (missing := set(table) - CONCLUSIONS.of(name.removesuffix(".csv")).columns)
    }
    assert without == {}, "say in tests/expected/conclusions.yaml what they hold"


@pytest.mark.parametrize("study", STUDIES)
def test_every_row_has_one_rule_for_every_column(study):
    for name, table in tables(study).items():
        if len(table):  # a row that `by` leaves out, or names twice, raises
            changed = table.assign(**{table.columns[-1]: table[table.columns[-1]] + "x"})
            compare_tables(table, changed, name.removesuffix(".csv"), CONCLUSIONS)


def test_every_table_of_the_rules_is_one_of_the_study():
    assert set(CONCLUSIONS.tables) == {name.removesuffix(".csv") for name in tables("standin")} | ASKED


def test_every_quantity_is_used_and_gives_its_reason():
    content = yaml.safe_load((EXPECTED / "conclusions.yaml").read_text(encoding="utf-8"))
    used = set()
    for rules in CONCLUSIONS.tables.values():
        groups = [rules.rules, *(part for cases in rules.by.values() for part in cases.values())]
        groups += [rules.spread.rules] if rules.spread else []
        used |= {rule.quantity.name for group in groups for rule in group}
    assert used == set(content["quantities"])
    for name, entry in content["quantities"].items():
        assert len(entry["why"]) > 20, name
    rounding = CONCLUSIONS.rounding
    assert rounding[0] <= 1e-6 and rounding[1] <= 1e-9


def test_a_p_has_no_tolerance_across_005():
    table = pd.DataFrame({"set": ["lt"], "definition": ["PMA"], "outcome": ["OS"], "p": ["0.0499999"]})
    cells = compare_tables(table, table.assign(p="0.0500001"), "table2", CONCLUSIONS)
    assert cells["conclusion"].tolist() == ["crosses 0.05"]


@pytest.mark.parametrize(
    ("printed", "found", "same"), [("0.04", "0.05", False), ("0.05", "0.06", False), ("0.02", "0.03", True)]
)
def test_a_printed_p_keeps_its_side(printed, found, same):
    text = "overall P={}, curvature P=0.07"
    table = pd.DataFrame({"part": ["annotations"], "panel": ["PMA"], "text": [text.format(printed)]})
    cells = compare_tables(table, table.assign(text=text.format(found)), "spline", CONCLUSIONS)
    assert cells["conclusion"].tolist() == ["" if same else "other words or numbers"]


def test_a_table_or_column_without_a_rule_stops_with_its_name():
    table = pd.DataFrame({"set": ["lt"], "c_index": ["0.7"], "sharpness": ["2"]})
    with pytest.raises(ConclusionError, match="c_index.csv: column sharpness has no rule"):
        compare_tables(table, table, "c_index", CONCLUSIONS)
    with pytest.raises(ConclusionError, match="stability.csv has no entry"):
        compare_tables(table, table, "stability", CONCLUSIONS)


# ---- text that is not compared: its numbers stand in a table that is ---------------------------------------------


def rounded(text, value):
    """Whether a printed number is the rounded one of a table."""
    digits = len(text.partition(".")[2])
    return abs(float(text) - float(value)) <= 0.5 * 10.0**-digits + 1e-9


def assert_printed(text, values):
    """The numbers of a text are these, in this order; P<0.001 stands for any smaller one."""
    numbers = PRINTED.findall(text.replace("–", " "))
    assert len(numbers) == len(values), (text, values)
    for number, value in zip(numbers, values, strict=True):
        assert rounded(number, value) or (f"P<{number}" in text and float(value) < float(number)), (text, values)


def annotations(study, figure):
    table = tables(study)[f"{figure}.csv"]
    return table[(table["part"] == "annotations") & table["text"].str.contains(r"\d")]


def survival_values(row):
    hazard = [row[c] for c in ("hr", "hr_low", "hr_high")] if row["hr"] else []
    return [*hazard, row["p_logrank"]]


def counted(row, events_group, n_group):
    """Events and patients of the group at risk and of the others."""
    events, n = int(row["events"]), int(row["n"])
    a, b = int(row[events_group]), int(row[n_group])
    return {f"{a} of {b}", f"{events - a} of {n - b}"}


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("figure", [*SETS, "fig4cf"])
def test_numbers_under_kaplan_meier_curves_are_compared_in_a_table(study, figure):
    rows = annotations(study, figure)
    assert len(rows) >= 3
    for row in rows.itertuples():
        if figure == "fig4cf":
            table, groups = tables(study)["risk_groups.csv"], ("events_high_risk", "n_high_risk")
            found = table[table["set"] == row.panel].iloc[0]
        else:
            table, (name, outcome) = tables(study)["table2_extended.csv"], SETS[figure]
            of = (table["set"] == name) & (table["outcome"] == outcome) & (table["definition"] == row.panel)
            found, groups = table[of].iloc[0], ("events_sarcopenic", "n_sarcopenic")
        assert_printed(row.text.replace("NA", "").replace("NE", ""), survival_values(found))
        drawn = tables(study)[f"{figure}.csv"]
        labels = drawn.loc[(drawn["part"] == "at_risk") & (drawn["panel"] == row.panel), "label"]
        assert {label.split(", events: ")[1] for label in labels} == counted(found, *groups)


@pytest.mark.parametrize("study", STUDIES)
def test_numbers_in_calibration_panels_are_compared_in_the_summary(study):
    table = tables(study)["calibration_summary.csv"]
    rows = annotations(study, "calibration")
    assert len(rows) == (table["ratio"] != "").sum() >= 3
    for row in rows.itertuples():
        name, month = row.panel.split()
        found = table[(table["set"] == name) & (table["month"].astype(float) == float(month))].iloc[0]
        columns = ("ratio", "ratio_low", "ratio_high", "slope", "slope_low", "slope_high", "ici", "ici_low", "ici_high")
        assert_printed(row.text, [found[c] for c in columns if found[c]])
        drawn = tables(study)["calibration.csv"]
        of = (drawn["part"] == "predictions") & (drawn["panel"] == row.panel)
        assert drawn.loc[of, "n_predicted"].astype(int).sum() == int(found["n"])


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", ["paper_comparison.csv", "comparison.csv"])
def test_a_difference_from_the_letter_is_of_two_compared_numbers(study, name):
    table = tables(study)[name]
    numbers = table[["published", "ours", "difference"]].apply(pd.to_numeric).dropna()
    assert len(numbers) > 30
    assert (numbers["ours"] - numbers["published"] - numbers["difference"]).abs().max() < 1e-12


def test_what_is_not_compared_is_what_these_tests_look_at():
    rules_of = {stem: rules for stem, rules in CONCLUSIONS.tables.items() if stem not in ASKED}
    left_out = {(stem, column) for stem, rules in rules_of.items() for column in rules.not_compared}
    figures = {(figure, column) for figure in (*SETS, "fig4cf") for column in ("text", "below")}
    others = {
        ("calibration", "text"),
        ("calibration", "n_predicted"),
        ("comparison", "difference"),
        ("paper_comparison", "difference"),
        ("fig4ab", "step"),
    }
    assert left_out == figures | others
