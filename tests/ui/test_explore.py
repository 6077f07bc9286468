"""The exploring notebook's logic against the tables' own functions, and the parameter files it writes."""

import numpy as np
import pandas as pd
import pytest
import yaml
from finished import toy_params, toy_patients

from analysis_lib.core.parameters import PARAMS_DIR, BmiClass, Params, load_params
from analysis_lib.core.project import Study
from analysis_lib.results.table2 import table_two
from analysis_lib.survival import survival
from analysis_lib.ui import explore as x

PARAMS = toy_params()
PATIENTS = toy_patients()
RISK = pd.Series(np.random.default_rng(0).normal(size=len(PATIENTS)), index=PATIENTS["patient_id"])


def choose(**changes) -> x.Choice:
    return x.replace(x.Choice.of(PARAMS), **changes)


@pytest.mark.parametrize("outcome", ["OS", "RFS"])
@pytest.mark.parametrize("name", ["discovery", "lt"])
def test_published_cut_offs_give_table_2(name, outcome):
    table = table_two(PATIENTS, PARAMS.definitions, PARAMS.cohort, PARAMS.statistics)
    table = table.set_index(["set", "definition", "outcome"])
    for definition in PARAMS.definitions:
        result = x.explore(PATIENTS, RISK, PARAMS, choose(set=name, outcome=outcome, definition=definition))
        row = table.loc[(name, definition, outcome)]
        got = [result.hazard[k] for k in ("hr", "low", "high", "p", "n")]
        np.testing.assert_array_equal(got, row[["hr", "hr_low", "hr_high", "p", "n"]].astype(float))
        shown = result.prevalence.set_index("definition").loc[definition]
        assert shown["n_sarcopenic"] == row["n_sarcopenic"] and shown["prevalence"] == row["prevalence"]


def test_a_moved_cut_off_moves_its_definition_alone():
    before = x.explore(PATIENTS, RISK, PARAMS, choose())
    after = x.explore(PATIENTS, RISK, PARAMS, choose().with_cut_off("PMI", 5.0, 5.0))
    moved = before.prevalence["n_sarcopenic"] != after.prevalence["n_sarcopenic"]
    assert before.prevalence.loc[moved, "definition"].tolist() == ["PMI"]
    discovery = PATIENTS[PATIENTS["set"] == "discovery"]
    expected = int((discovery["pmi"] < 5.0).sum())
    assert after.prevalence.set_index("definition").at["PMI", "n_sarcopenic"] == expected


def test_adjustment_is_the_multivariable_model():
    got = x.explore(PATIENTS, RISK, PARAMS, choose(set="lt", definition="SMI", adjustment="age and sex")).hazard
    part = PATIENTS[PATIENTS["set"] == "lt"]
    cut_off = part["sex"].map({"M": 50.0, "F": 39.0})
    covariates = pd.DataFrame({"s": part["smi"] < cut_off, "age": part["age"], "m": part["sex"] == "M"}).astype(float)
    fit = survival.cox_adjusted(part["os_months"], part["os_event"], covariates, 0.95).set_index("covariate").loc["s"]
    assert got["hr"] == pytest.approx(fit["hr"], rel=1e-9) and got["p"] == pytest.approx(fit["p"], rel=1e-9)


def test_what_a_set_lacks_is_said():
    result = x.explore(PATIENTS, RISK, PARAMS, choose(set="external", adjustment="age, sex and tumour"))
    assert "not known in this set: vascular_invasion" in result.hazard["note"]
    empty = x.explore(PATIENTS, RISK, PARAMS, choose(set="external", outcome="RFS"))
    assert np.isnan(empty.hazard["hr"]) and "no patient of this set has RFS" in empty.hazard["note"]
    assert empty.auc.empty and empty.note


def test_auc_is_that_of_the_library_at_the_horizon():
    result = x.explore(PATIENTS, RISK, PARAMS, choose(set="internal", horizon_months=36.0))
    part = PATIENTS[PATIENTS["split"] == "internal"]
    risk = part["patient_id"].map(RISK)
    ones = survival.auc_curve(part["os_months"], part["os_event"], {"a": risk}, [36.0], 100, 0.95, 1)
    assert result.auc.set_index("model").at["TFDeepSurv", "auc"] == ones["auc"].iloc[0]
    without = x.explore(PATIENTS, None, PARAMS, choose())
    assert without.auc["model"].tolist() == ["PMA", "PMA continuous"]


def test_auc_of_a_definition_with_classes_of_bmi_is_by_its_cut_offs():
    heavy = BmiClass(bmi_at_least=24.0, men=60.0, women=45.0)
    classed = PARAMS.definitions["SMI"].model_copy(update={"bmi_classes": [heavy]})
    params = PARAMS.model_copy(update={"definitions": PARAMS.definitions | {"SMI": classed}})
    result = x.explore(PATIENTS, None, params, choose(definition="SMI", horizon_months=36.0))
    part = PATIENTS[PATIENTS["set"] == "discovery"]
    below = classed.men * (part["sex"] == "M") + classed.women * (part["sex"] == "F")
    below = below.mask(part["bmi"] >= 24, (part["sex"] == "M").map({True: 60.0, False: 45.0})) - part["smi"]
    markers = {"SMI": below > 0, "SMI continuous": below}
    auc = survival.auc_curve(
        part["os_months"], part["os_event"], pd.DataFrame(markers).astype(float), [36.0], 20, 0.95, 1
    )
    assert (part["bmi"] >= 24).any() and (part["bmi"] < 24).any()
    found = result.auc.set_index("model")["auc"]
    assert found.to_dict() == pytest.approx(auc.set_index("model")["auc"].to_dict(), rel=1e-12)


def test_written_parameters_are_a_study(tmp_path):
    params = load_params("smoke")
    for name in ("defaults", "standin", "smoke"):
        (tmp_path / f"{name}.yaml").write_bytes((PARAMS_DIR / f"{name}.yaml").read_bytes())
    choice = x.Choice.of(params).with_cut_off("PMI", 6.0, 4.0)
    choice = x.replace(choice, horizon_months=48.0)
    path = x.write_params(params, choice, "mytweak", tmp_path)
    study = load_params("mytweak", tmp_path)
    assert (study.definitions["PMI"].men, study.definitions["PMI"].women) == (6.0, 4.0)
    assert study.definitions["PMA"] == params.definitions["PMA"]
    assert study.statistics.horizons_months == [12.0, 36.0, 48.0, 60.0]
    assert Study(study).data == Study(params).data and study.network == params.network
    assert list(yaml.safe_load(path.read_text())["definitions"]) == ["PMI"]
    assert x.write_params(params, choice, "mytweak", tmp_path) == path  # its own file may be written again
    for name, words in (("smoke", "is the study being explored"), ("standin", "by hand"), ("../x", "cannot name")):
        with pytest.raises(x.ExploreError, match=words):
            x.write_params(params, choice, name, tmp_path)


def test_widgets_show_the_result_and_write_the_choice(finished, tmp_path, monkeypatch):
    pytest.importorskip("ipywidgets")
    from analysis_lib.ui.explore_widgets import Explorer

    panel = Explorer(finished)
    panel.definition.value = "PMI"
    panel.sliders["PMI", "men"].value = 6.0
    expected = x.explore(panel.patients, panel.risk, panel.params, panel.choice)
    assert f"HR {expected.hazard['hr']:.2f}" in panel.summary.value
    assert "Synthetic" in panel.summary.value and bytes(panel.curve.value).startswith(b"\x89PNG")
    written = []
    monkeypatch.setattr(x, "write_params", lambda *a: written.append(a[1:]) or tmp_path / "mine.yaml")
    panel.name.value = "mine"
    panel.write.click()
    assert written == [(panel.choice, "mine", finished.project.params_dir)]
    assert "make study STUDY=mine" in panel.said.value
    panel.sliders["PMA", "men"].value = 14.809999999999999
    panel.sliders["MA", "women"].value = 35.30000000000001
    assert panel.choice.cut_offs["PMA"][0] == 14.81 and panel.choice.cut_offs["MA"][1] == 35.3
    assert "men 6 (published 6.36)" in panel.summary.value and "unadjusted" in panel.summary.value
    assert "men 6 (published 6.36)" in panel.result.panel["annotations"]["title"].iloc[0]
    panel.adjustment.value = "age and sex"
    assert "adjusted for age and sex" in panel.summary.value
    assert "The ratio in the figure is unadjusted" in panel.summary.value
    assert "TFDeepSurv" in panel.summary.value and "it learnt from these patients" in panel.summary.value
    panel.set.value = "lt"
    assert "it learnt from these patients" not in panel.summary.value
    shown = [key for key, row in panel.rows.items() if row.layout.display != "none"]
    assert shown == [("PMI", "men"), ("PMI", "women")]
    panel.definition.value = "SMI"
    assert "Moved too: " in panel.summary.value and "PMI men 6 (published 6.36)" in panel.summary.value
    assert (
        panel.rows["PMI", "men"].layout.display == "none" and "published" in panel.rows["SMI", "men"].children[1].value
    )
    panel.reset.click()
    assert panel.choice.cut_offs == x.Choice.of(panel.params).cut_offs


ODD = {
    "a horizon beyond the curve, and not whole": {"statistics": {"horizons_months": [72.5]}},
    "curve within a month": {"statistics": {"auc_first_month": 6.5, "auc_last_month": 6.8, "horizons_months": [6.7]}},
    "a z-score's cut-off": {
        "definitions": {"PMI": {"men": -2.0, "women": 0.0, "column": "pm_mean_hu", "unit": "SD"}},
        "cut_off_ranges": {"pm_mean_hu": {"low": -6}},
    },
    "cut-offs by BMI": {"definitions": {"SMI": {"bmi_classes": [{"bmi_at_least": 24, "men": 60, "women": 45}]}}},
    "sets that are only tested": {"cohort": {"sets": {"discovery": {"role": "test"}}}},
    "a set that is trained on as a whole": {"cohort": {"sets": {"discovery": {"role": "train"}}}},
    "another endpoint": {"endpoint": "rfs"},
    "no end that anybody has seen": {"statistics": {"auc_min_deaths": 1, "horizons_months": [500]}},
}


def merged(base: dict, over: dict) -> dict:
    return base | {k: merged(base[k], v) if isinstance(v, dict) and k in base else v for k, v in over.items()}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_allowed_values_can_be_explored(name, finished):
    from analysis_lib.ui.explore_widgets import Explorer

    params = Params.model_validate(merged(PARAMS.model_dump(), ODD[name]))
    panel = Explorer(Study(params, finished.project))
    for control in (panel.definition, panel.set, panel.outcome):
        control.value = control.options[-1][1] if isinstance(control.options[-1], tuple) else control.options[-1]
    assert "HR " in panel.summary.value and bytes(panel.curve.value).startswith(b"\x89PNG")
    for key, definition in params.definitions.items():
        assert panel.choice.cut_offs[key] == (definition.men, definition.women)
        assert panel.sliders[key, "men"].min < definition.men < panel.sliders[key, "men"].max


def test_published_is_what_was_published_and_not_what_the_study_says():
    own = PARAMS.definitions["PMI"].model_copy(update={"men": 6.0})
    params = PARAMS.model_copy(update={"definitions": PARAMS.definitions | {"PMI": own}})
    choice = x.replace(x.Choice.of(params), definition="PMI")
    assert x.moved_cut_offs(params, choice) == "men 6 (published 6.36)"
    assert x.moved_cut_offs(params, choice.with_cut_off("PMI", 6.36, 3.92)) == ""
    named = {"PMI": own.model_copy(update={"doi": "10.1/mine"})}  # another's definition under the same name
    other = PARAMS.model_copy(update={"definitions": named})
    assert x.moved_cut_offs(other, x.Choice.of(other)) == ""
