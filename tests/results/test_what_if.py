"""Each row of docs/what_if.md, on a toy study: its lines of YAML are read, and the notebooks that it changes run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cells import draw_quickly, run_cells
from finished import toy_patients, toy_study
from test_results_sets import FITTING, write_study

import analysis_lib
from analysis_lib.cohort.cohort import split_patients
from analysis_lib.cohort.question import asked
from analysis_lib.core.artefacts import wanted_notebooks
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.review.compare import question_in_words
from analysis_lib.review.facts import facts, fill
from analysis_lib.ui.notebook import Notebook

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "what_if.md").read_text(encoding="utf-8")
ROWS = {
    title: yaml.replace("<br>", "\n") for title, yaml in re.findall(r"^\| ([^|]+) \| <pre>(.*?)</pre> \|", PAGE, re.M)
}
# What make compare says of each beside the study that it is a what-if of.
WORDS = {
    "women alone": "overall survival of sex: female, from surgery",
    "patients of 60 years and more with a single tumour": "age: at least 60; tumour_single: yes",
    "those still at risk at 6 months": "from landmark at 6 months",
    "recurrence-free survival": "recurrence-free survival of all patients",
    "recurrence, which death takes away": "freedom from recurrence of all patients",
    "an endpoint of one's own": "second look of all patients",
    "risk groups by tertiles": "risk groups cut at the training tertiles",
    "risk groups by published cuts": "risk groups cut at -0.5 and 0.5",
    "hazards of each sex of their own": "Cox models and log-rank tests stratified by sex",
    "competing events": "competing events",
    "another set to train on": "External LT test (trained on)",
    "one set dropped": "overall survival of set: discovery or lt",
    "a model stratified by set": "network stratified by set",
}
SMALL = {"bootstrap_replicates": 20, "curve_replicates": 20, "imputations": 2, "imputation_rounds": 1}
SMALL |= {"auc_step_months": 12}
# Run beside the flowchart on every test, of the rows that change what others do not; the slow test runs all of all.
SHOWN = {
    "recurrence, which death takes away": "05_risk_groups",
    "risk groups by tertiles": "05_risk_groups",
    "hazards of each sex of their own": "13_extended_table2",
}


@pytest.fixture
def study(request, tmp_path, monkeypatch) -> Study:
    """The study of a row, as far as notebook 04 would have it, on patients as ``asked`` leaves them."""
    shutil.copytree(Project().params_dir, tmp_path / "params")
    (tmp_path / "params" / "row.yaml").write_text(f"{ROWS[request.param]}\ntitle: Toy\n")
    params = load_params("row", tmp_path / "params")
    params = params.model_copy(
        update={
            "statistics": params.statistics.model_copy(update=SMALL),
            "further_definitions": {"SMI JSH": params.further_definitions["SMI JSH"]},
        }
    )
    made = toy_study(tmp_path, **{name: getattr(params, name) for name in type(params).model_fields if name != "study"})
    everybody = toy_patients().drop(columns=["split", "time_months", "event"])
    everybody["age"] += 10  # so that enough are 60 and more to train on
    patients, left_out = asked(everybody, params)
    patients.insert(2, "split", split_patients(patients, params.cohort, params.seed))
    write_study(made, patients)
    made.write_patients(patients, left_out)
    made.write_exclusions(pd.DataFrame(columns=["patient_id", "stage", "reason", "set"]))
    monkeypatch.setattr(analysis_lib, "open_study", lambda name: Notebook(made.params, made.project))
    draw_quickly(monkeypatch)
    return made


def rows(study: Study, name: str) -> pd.DataFrame:
    return pd.read_csv(study.figures / f"{name}.csv")


def test_every_row_is_three_lines():
    assert (
        ROWS.keys() == WORDS.keys()
        and all(len(yaml.splitlines()) == 3 for yaml in ROWS.values())
        and SHOWN.keys() <= ROWS.keys()
    )


@pytest.mark.parametrize("study", ROWS, indirect=True)
def test_a_row_runs_and_says_what_it_is(study, request):
    run_cells(study, "01_cohort")
    if more := SHOWN.get(request.node.callspec.params["study"]):
        run_cells(study, more)
    looks_right(study, request.node.callspec.params["study"])


@pytest.mark.slow
@pytest.mark.parametrize("study", ROWS, indirect=True)
def test_every_notebook_of_a_row_runs(study, request):
    for name in wanted_notebooks(study.params):
        if name != FITTING:
            run_cells(study, name)
    looks_right(study, request.node.callspec.params["study"])


def looks_right(study: Study, title: str) -> None:
    """What the study says of itself, and what the tables that it has made hold."""
    params, chart, found = study.params, rows(study, "fig1"), facts(study)
    for step in params.steps:
        assert (chart["label"] == step).any(), step
    assert chart.loc[chart["label"].str.startswith("Analysed"), "n"].sum() == len(study.patients())
    assert params.question in found["all"] and params.question in params.heading
    (_, before), (name, words) = question_in_words(Study(load_params("smoke")), study)
    assert name == study.name and WORDS[title] in words and WORDS[title] not in before
    made = {path.stem for path in study.figures.glob("*.csv")}
    if "table2" in made:
        assert rows(study, "table2")["outcome"].iloc[0] == params.endpoint.short
        assert "set" not in params.subset or "external" not in set(rows(study, "table2")["set"])
    if params.risk_groups and "fig4cf" in made:
        groups = set(rows(study, "risk_group_models")["group"])
        assert groups == {"Low risk", "Intermediate risk", "High risk"} == set(rows(study, "fig4cf")["group"].dropna())
    if params.cox.competing and "incidence" in made:
        assert set(rows(study, "competing_risks")["cause"]) == {"Recurrence", "Death without recurrence"}
    if params.cox.given:
        assert "stratified by sex" in fill("{cox}", found)
        assert "table2_extended" not in made or rows(study, "table2_extended")["p_curvature"].isna().all()
