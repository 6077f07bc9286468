"""Notebooks in studies that lack something: nobody with a height, test sets with nobody in them, no test set at all.

The cells run as they stand, on a toy study with a stand-in for the fitted network, so that no TensorFlow is needed.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from cells import draw_quickly, run_cells
from finished import toy_params, toy_patients, toy_study

import analysis_lib
from analysis_lib.core.artefacts import wanted_notebooks
from analysis_lib.core.parameters import FeatureParams, SetParams
from analysis_lib.core.project import Study
from analysis_lib.figures import small_data
from analysis_lib.results.calibration import COLUMNS
from analysis_lib.review.methods import methods
from analysis_lib.stages import optimism
from analysis_lib.ui.notebook import Notebook

FITTING = "04_autoencoder_deepsurv"
HEIGHT = ["height_m", "smi", "pmi"]


def write_study(study: Study, patients: pd.DataFrame) -> None:
    """What the stages before the notebooks and notebook 04 leave behind."""
    rng, params = np.random.default_rng(3), study.params
    ids = pd.Index(patients["patient_id"], name="patient_id")
    split = patients.set_index("patient_id")["split"]
    names = [f"sm_original_firstorder_{k}" for k in range(6)]
    study.write_features(pd.DataFrame(rng.normal(size=(len(ids), len(names))), ids, names))
    risk = pd.Series(rng.normal(size=len(ids)), ids)
    study.write_patients(patients)
    study.write_exclusions(pd.DataFrame(columns=["patient_id", "stage", "reason", "set"]))
    study.write_risk(risk, split, pd.Series(0.3, ids))
    area = pd.DataFrame({"SM area": -patients["sm_area_cm2"].to_numpy()}, ids)
    study.write_comparators(area, split, pd.DataFrame({"model": ["TFDeepSurv"], "seconds": [1.0]}))
    study.write_optimism(pd.DataFrame(columns=optimism.COLUMNS))
    study.model.mkdir()
    (study.model / "model.json").write_text(json.dumps({"cutoff": 0.0}))
    study.write_held_out_risk(risk[split == "train"])
    months = params.statistics.curve_months()
    study.write_survival(
        pd.DataFrame(np.exp(-np.exp(risk.to_numpy())[:, None] * np.array(months) / 80), ids, months), split
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the notebooks on patients and sets; returns the variables of each and the folder of the figures."""

    def run(patients: pd.DataFrame, radiomics: bool = True, **cohort) -> tuple[dict[str, dict], Study]:
        base = toy_params()
        small = {
            "bootstrap_replicates": 20,
            "curve_replicates": 20,
            "imputations": 2,
            "imputation_rounds": 1,
            "auc_step_months": 12,
        }
        study = toy_study(
            tmp_path,
            statistics=base.statistics.model_copy(update=small),
            cohort=base.cohort.model_copy(update=cohort),
            further_definitions={"SMI JSH": base.further_definitions["SMI JSH"]},
            features=base.features if radiomics else FeatureParams(),
        )
        write_study(study, patients)
        monkeypatch.setattr(analysis_lib, "open_study", lambda name: Notebook(study.params, study.project))
        draw_quickly(monkeypatch)
        found = {name: run_cells(study, name) for name in wanted_notebooks(study.params) if name != FITTING}
        return found, study

    return run


# notebook 11 adds rows to an empty table of replicates
pytestmark = pytest.mark.filterwarnings("ignore:The behavior of DataFrame concatenation")


def table(study: Study, name: str) -> pd.DataFrame:
    return study.result(name)


EVERYBODY = pytest.param(["discovery", "external", "lt"], marks=pytest.mark.slow)


@pytest.mark.parametrize("lacking", [EVERYBODY, ["discovery", "lt"]], ids=["all", "training"])
def test_a_study_without_height(run, lacking):
    patients = toy_patients()
    patients.loc[patients["set"].isin(lacking), HEIGHT] = np.nan
    found, study = run(patients)
    assert found["12_added_value"]["best"] in ("PMA", "PD", "MA")
    spline = table(study, "spline").query("part == 'annotations'").set_index("panel")["text"]
    assert (spline[["PMI", "SMI"]] == "NA: nobody has index and outcome").all() and "overall P" in spline["PMA"]
    table2 = table(study, "table2").set_index(["set", "definition", "outcome"])
    assert table2.loc[("discovery", "SMI", "OS"), "n"] == 0 and np.isnan(table2.loc[("discovery", "SMI", "OS"), "hr"])
    assert table2.loc[("external", "SMI", "OS"), "n"] == (0 if "external" in lacking else 25)
    c_index = table(study, "c_index").set_index(["set", "model"])["c_index"]
    assert np.isnan(c_index["train", "PMI"]) and c_index.xs("PMA", level="model").notna().all()
    assert np.isnan(c_index["external", "PMI"]) == ("external" in lacking)
    separation = table(study, "separation").query("patients == 'all sets'").set_index("definition")
    assert np.isnan(separation.loc["PMI", "auc"]) == ("external" in lacking)


def test_a_study_of_the_indices_alone(run):
    found, study = run(toy_patients(), radiomics=False)
    assert list(found) == ["01_cohort", "02_sarcopenia", "13_extended_table2", "14_index_splines"]
    boxes = table(study, "fig1").query("kind == 'process'")["label"].tolist()
    assert boxes == ["CT at L3 (DICOM)", "SM and PM masks", "Muscle indices and 5 definitions of sarcopenia"]
    headings = [heading for heading, _ in methods(study.params, toy_patients(), 0)]
    assert headings == ["Synthetic data", "Patients", "Images", "Definitions of sarcopenia", "Statistics"]
    assert "C-index" not in " ".join(text for _, text in methods(study.params, toy_patients(), 0))


@pytest.mark.slow
def test_declared_test_sets_with_nobody_in_them(run):
    patients = toy_patients().query("set == 'discovery'").reset_index(drop=True)
    found, study = run(patients)
    c_index = table(study, "c_index").set_index(["set", "model"])
    assert c_index.index.unique("set").tolist() == ["train", "internal", "external", "lt"]
    assert c_index.loc[["external", "lt"], "c_index"].isna().all() and (c_index.loc[["external", "lt"], "n"] == 0).all()
    assert c_index.loc["internal", "c_index"].notna().all()
    assert table(study, "auc")["set"].unique().tolist() == ["internal"]
    calibration = table(study, "calibration_summary").set_index("set")
    assert (calibration.loc[["external", "lt"], "note"] == "no patient").all()
    assert calibration.loc["internal", "ratio"].notna().any()
    for name in ("brier", "nri", "added_value", "risk_groups"):
        assert set(table(study, name)["set"]) <= {"train", "internal"}, name
    assert set(found["12_added_value"]["probabilities"]["set"]) == {"internal"}


EMPTY = pytest.param({"oslo": SetParams(label="Oslo", role="test")}, marks=pytest.mark.slow)


@pytest.mark.parametrize("further", [{}, EMPTY], ids=["none", "empty"])
def test_no_internal_set_and_nobody_in_a_test_set(run, further):
    patients = toy_patients().query("set == 'discovery'").reset_index(drop=True).assign(split="train")
    sets = {"discovery": SetParams(label="Discovery", role="train")} | further
    found, study = run(patients, sets=sets, internal_fraction=0.0)
    assert table(study, "c_index")["set"].unique().tolist() == ["train", *further]
    for name in ("auc", "auc_horizons", "brier", "nri", "added_value", "c_index_published", "decision_curves"):
        assert table(study, name).empty, name
    assert len(table(study, "calibration_summary")) == len(further) * len(study.params.statistics.horizons_months)
    single = table(study, "optimism_summary").set_index("quantity").loc["single split"]
    assert np.isnan(single["value"]) and single["n"] == 0
    own, probabilities = found["09_beyond_the_letter"]["own"], found["12_added_value"]["probabilities"]
    assert list(own) == list(probabilities) == COLUMNS


@pytest.mark.slow
def test_test_sets_of_one_patient(run):
    patients = toy_patients()
    first = ~patients.duplicated("set")
    patients = patients[(patients["set"] == "discovery") | first].reset_index(drop=True)
    patients.loc[patients["set"] == "external", "event"] = 1.0
    patients.loc[patients["set"] == "lt", "event"] = 0.0
    _, study = run(patients)
    c_index = table(study, "c_index").set_index(["set", "model"])
    assert c_index.loc[["external", "lt"], "c_index"].isna().all() and (c_index.loc[["external", "lt"], "n"] == 1).all()
    added = table(study, "added_value").set_index("set")
    assert added.loc[["external", "lt"], "p"].isna().all() and added.loc[["external", "lt"], "note"].notna().all()


def test_optimism_without_an_internal_set():
    """Bootstrap fits and splits may be there, while the study's own internal set has nobody."""
    rows = [(kind, k, 0.6 + 0.02 * k, 0.8, 0.6) for kind in ("split", "bootstrap") for k in range(4)]
    replicates = pd.DataFrame(rows, columns=["kind", "replicate", "c_index", "c_index_train", "c_index_left_out"])
    found = optimism.summary(replicates, 0.9, np.nan, 0.95).set_index("quantity")
    assert found.loc[["single split", "place of the single split"], "value"].isna().all()
    assert found.loc["repeated splits", "value"] == pytest.approx(0.63)
    labels = [text.get_text() for text in small_data.optimism(replicates, np.nan).legends[0].get_texts()]
    assert "this study's one split: NA" in labels
    empty = small_data.optimism(replicates[replicates["kind"] == "bootstrap"], np.nan)
    assert any("NA: no split" in text.get_text() for text in empty.axes[0].texts)
