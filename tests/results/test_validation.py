"""A saved model judged on patients it was not trained on: the same numbers as in its study, and nothing trained."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cells import draw_quickly, run_cells
from finished import toy_params, toy_patients, toy_study
from matplotlib.figure import Figure

import analysis_lib
from analysis_lib.core.parameters import SetParams, ValidationParams
from analysis_lib.results import MODEL
from analysis_lib.results.added_value import CLINICAL, brier_scores
from analysis_lib.results.calibration import calibrations, model_deaths
from analysis_lib.results.discrimination import c_index_intervals, discrimination, marker_table
from analysis_lib.results.validation import RECALIBRATION, case_mixes, judged, recalibrated
from analysis_lib.results.validation_clinical import (
    calibrated_too,
    clinical_model,
    intervals_too,
    ranked_too,
    scored_too,
)
from analysis_lib.review import record
from analysis_lib.review.package import write_package
from analysis_lib.review.report import render
from analysis_lib.review.verify import verify
from analysis_lib.stages.export import LEAST, MEASURED, case_mix, clinical_models, plain
from analysis_lib.survival.survival import c_index
from analysis_lib.ui.notebook import Notebook

PARAMS = toy_params()
FEW = {"bootstrap_replicates": 20, "curve_replicates": 20, "auc_step_months": 12, "horizons_months": [36.0]}
STATISTICS = PARAMS.statistics.model_copy(update=FEW)


def about(**changes):
    """What the folder of a model tells, as ``stages.validate.about`` has it."""
    mix = plain(case_mix(toy_patients(11)))
    told = {"folder": "model", "sums_sha256": "ab" * 32, "study": "theirs", "synthetic": True, "cutoff": 0.1}
    told |= {
        "n_patients": 60,
        "n_features": 6,
        "networks": 2,
        "last_month": 90.0,
        "case_mix": mix,
        "notes": ["Beware."],
    }
    return told | changes


def predictions(patients: pd.DataFrame, risk: np.ndarray, hazard: float = 1 / 80) -> pd.DataFrame:
    """Of a model with a constant baseline hazard, a month."""
    table = patients[["patient_id", "set"]].assign(risk=risk, spread=0.2, risk_group="low")
    for month in STATISTICS.curve_months():
        table[f"survival_{month:g}_months"] = np.exp(-np.exp(risk) * hazard * month)
    warning = np.where(np.arange(len(table)) % 5 == 0, "unlike", "")
    return table.assign(share_outside=0.01 * np.abs(risk), reconstruction_error=0.1, warning=warning, note="")


def test_a_set_has_the_rows_that_it_has_in_the_model_s_own_study():
    patients, rng = toy_patients(), np.random.default_rng(4)
    risk = rng.normal(size=len(patients))
    given = predictions(patients, risk)
    found = judged(patients, given, about(), PARAMS.cohort)
    assert list(found.labels) == found.cohort.splits == ["discovery", "external", "lt"]
    own_risk, definitions = pd.Series(risk, patients["patient_id"]), {"PMI": PARAMS.definitions["PMI"]}
    tables = []
    for cohort, table in ((found.cohort, found.patients), (PARAMS.cohort, patients)):
        ranked = discrimination(table, marker_table(table, own_risk, definitions), cohort, STATISTICS, 1)
        deaths = model_deaths(table, found.survival, cohort)
        summary = calibrations(deaths, STATISTICS, 1, dict.fromkeys(cohort.test_sets, ""))[1]
        tables.append([*ranked.values(), summary])
    for ours, theirs in zip(*tables, strict=True):
        for name in ("external", "lt"):
            rows = (t[t["set"] == name].reset_index(drop=True) for t in (ours, theirs))
            pd.testing.assert_frame_equal(*rows, check_exact=True)
    assert "train" in set(tables[1][0]["set"]) and "train" not in set(tables[0][0]["set"])


def test_the_clinical_model_is_judged_where_its_covariates_are_known():
    """external has no vascular invasion: a model of fewer; in lt one patient lacks an age; the model's rows stay."""
    patients, rng = toy_patients(), np.random.default_rng(4)
    patients.loc[patients.index[patients["set"] == "lt"][3], "age"] = np.nan
    given = predictions(patients, rng.normal(size=len(patients)))
    names = ["age", "sex", "tumour_single", "vascular_invasion"]
    train = patients[patients["split"] == "train"].set_index("patient_id")
    told = [model.model_dump() for model in clinical_models(train, names)]
    found = judged(patients, given, about(clinical=told), PARAMS.cohort)
    settings = found, clinical_model(found), STATISTICS, 1
    external = "of age, sex, tumour_single"
    lt = f"{external}, vascular_invasion; left out who lacks one: 1"
    assert settings[1].notes["lt"] == lt and settings[1].notes["external"] == external
    markers = marker_table(patients, found.risk, {"PMI": PARAMS.definitions["PMI"]})
    own = discrimination(found.patients, markers, found.cohort, STATISTICS, 1)
    both = ranked_too(own, *settings)
    for key, table in own.items():
        if "model" in table:
            rows = both[key][both[key]["model"] != CLINICAL][list(table)].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, table.reset_index(drop=True))
    part = found.patients[found.patients["set"] == "lt"].set_index("patient_id")
    risk = settings[1].risk.reindex(part.index).dropna()
    row = both["c_index"].query("set == 'lt' and model == @CLINICAL").iloc[0]
    assert len(risk) == row["n"] == 24 and row["note"] == lt
    part = part.loc[risk.index]
    assert row["c_index"] == pytest.approx(c_index(part["time_months"], part["event"], risk), abs=1e-12)
    deaths = model_deaths(found.patients, found.survival, found.cohort)
    summary = calibrated_too(calibrations(deaths, STATISTICS, 1, found.labels)[1], *settings)
    scores = scored_too(brier_scores(deaths, STATISTICS, 1), *settings)
    for table, value in ((summary, "ratio"), (scores, "brier")):
        rows = table[table["model"] == CLINICAL].set_index("set")
        assert rows[value].notna().all() and rows.loc["lt", "n"].max() == 24
        assert set(rows["note"]["external":"external"]) == {external}

    cases = ([], patients, "not in this model folder"), (told, patients.assign(age=np.nan), "the set lacks age")
    for models, table, said in cases:
        other = judged(table, given, about(clinical=models), PARAMS.cohort)
        settings = other, clinical_model(other), STATISTICS, 1
        tables = ranked_too(own, *settings)["c_index"], calibrated_too(summary[summary["model"] == MODEL], *settings)
        for table in (*tables, scored_too(scores[scores["model"] == MODEL], *settings)):
            rows = table[table["model"] == CLINICAL]
            assert rows["note"].str.startswith(said).all() and set(rows["set"]) == {"discovery", "external", "lt"}
            assert rows[[c for c in ("c_index", "ratio", "brier") if c in rows]].isna().all(axis=None)


def test_the_test_part_of_a_set_that_was_split_is_called_so():
    patients = toy_patients().query("split != 'train'").reset_index(drop=True)
    given = predictions(patients.assign(set=patients["split"]), np.zeros(len(patients)))
    found = judged(patients, given, about(), PARAMS.cohort)
    assert found.labels["internal"] == "Internal test" and found.cohort.splits == ["internal", "external", "lt"]
    assert found.patients.groupby("set").size().to_dict() == patients.groupby("split").size().to_dict()


def test_recalibration_finds_what_was_put_in():
    """True log hazard -4.6 + 0.5 risk; the model says -3.9 + risk. Log cumulative hazards are linear in each other."""
    rng, n = np.random.default_rng(5), 1500
    risk = rng.normal(size=n)
    death, end = rng.exponential(np.exp(4.6 - 0.5 * risk)), rng.uniform(30, 120, n)
    columns = {"set": "external", "split": "external", "time_months": np.minimum(death, end), "event": death <= end}
    patients = pd.DataFrame({"patient_id": [f"P{k}" for k in range(n)]} | columns).astype({"event": float})
    found = judged(patients, predictions(patients, risk, np.exp(-3.9)), about(), PARAMS.cohort)
    statistics = STATISTICS.model_copy(update={"horizons_months": [18.0, 54.0]})
    table = recalibrated(found, ValidationParams(recalibrate=True), statistics, 1)
    assert list(table) == RECALIBRATION and list(table["month"]) == [18, 54]
    assert table["slope_fitted"].to_numpy() == pytest.approx(0.5, abs=0.12)
    put_in = np.log(table["month"]) - 4.6 - 0.5 * (np.log(table["month"]) - 3.9)
    assert (table["intercept"] - put_in).abs().max() < 0.2
    assert table["ratio"].to_numpy() == pytest.approx(1, abs=0.1) and (table["ici"] < 0.03).all()
    _, before = calibrations(
        model_deaths(found.patients, found.survival, found.cohort), statistics, 1, {"external": ""}
    )
    assert (before["ratio"] < 0.75).all() and (before["slope_high"] < 0.8).all()


def test_a_set_in_which_nobody_died_has_no_recalibration():
    patients = toy_patients()
    patients.loc[patients["set"] == "lt", "event"] = 0.0
    given = predictions(patients, np.random.default_rng(4).normal(size=len(patients)))
    table = recalibrated(judged(patients, given, about(), PARAMS.cohort), ValidationParams(), STATISTICS, 1)
    assert set(table["set"]) == {"discovery", "external"}


@pytest.mark.parametrize("kept", [1, 110])
def test_patients_of_whom_nobody_died_and_one_patient_alone_have_rows_without_numbers(kept):
    patients = toy_patients().assign(event=0.0).tail(kept).reset_index(drop=True)
    train = toy_patients(8).query("split == 'train'").set_index("patient_id")
    told = about(clinical=[model.model_dump() for model in clinical_models(train, ["age", "sex"])])
    found = judged(patients, predictions(patients, np.linspace(-1, 1, kept)), told, PARAMS.cohort)
    settings = found, clinical_model(found), STATISTICS, 1
    markers = marker_table(found.patients, found.risk, PARAMS.definitions)
    ranked = ranked_too(discrimination(found.patients, markers, found.cohort, STATISTICS, 1), *settings)
    assert set(ranked["c_index"]["model"]) == {MODEL, CLINICAL, *PARAMS.definitions}
    assert ranked["c_index"]["c_index"].isna().all() and (ranked["c_index"]["events"] == 0).all()
    assert intervals_too(c_index_intervals(found.patients, markers, found.cohort, STATISTICS, 1), *settings).empty
    deaths = model_deaths(found.patients, found.survival, found.cohort)
    summary = calibrated_too(calibrations(deaths, STATISTICS, 1, found.labels)[1], *settings)
    assert summary["ratio"].isna().all() and summary["note"].str.contains("no death by the month").all()
    scores = scored_too(brier_scores(deaths, STATISTICS, 1), *settings)
    assert (
        set(scores["model"]) == {CLINICAL} and scores["brier"].isna().all() and (scores["note"] == "of age, sex").all()
    )


def test_the_case_mix_is_nobody_s():
    patients = toy_patients()
    mix = case_mix(patients)
    for row in mix.head(len(MEASURED)).itertuples():
        values, counts = np.unique(patients[row.characteristic], return_counts=True)
        assert not np.isin([row.value, row.low, row.high], values[counts < LEAST]).any()
    for name in ("age", "smi"):
        row = mix.set_index("characteristic").loc[name]
        assert row[["low", "value", "high"]].tolist() == pytest.approx(
            np.quantile(patients[name], [0.25, 0.5, 0.75]), rel=0.02
        )
    few = case_mix(patients.head(LEAST - 1))
    assert few["value"].isna().all() and (few["n"] <= LEAST - 1).all()
    given = predictions(patients, np.zeros(len(patients)))
    both = case_mixes(judged(patients, given, about(case_mix={}), PARAMS.cohort))
    assert set(both["set"]) == {"discovery", "external", "lt"}
    assert both.query("characteristic == 'unlike_training'")["value"].between(0.15, 0.25).all()


# notebook 17 stacks tables of which one may be empty
@pytest.mark.filterwarnings("ignore:The behavior of DataFrame concatenation")
def test_a_study_that_was_only_validated(tmp_path, monkeypatch):
    patients = toy_patients().query("set != 'lt'").reset_index(drop=True)
    sets = {"external": PARAMS.cohort.sets["external"], "discovery": SetParams(label="Ours", role="train")}
    study = toy_study(
        tmp_path,
        statistics=STATISTICS.model_copy(update={"time_origin": "TACE"}),
        cohort=PARAMS.cohort.model_copy(update={"sets": sets}),
        validation=ValidationParams(recalibrate=True),
    )
    ids = pd.Index(patients["patient_id"], name="patient_id")
    study.write_features(pd.DataFrame(np.ones((len(ids), 2)), ids, ["sm_a", "sm_b"]))
    study.write_patients(patients)
    study.write_exclusions(pd.DataFrame(columns=["patient_id", "stage", "reason", "set"]))
    study.write_validation(predictions(patients, np.random.default_rng(4).normal(size=len(ids))), about())
    study.data.mkdir(parents=True)
    study.clinical_file.write_text("patient_id\n")
    monkeypatch.setattr(analysis_lib, "open_study", lambda name: Notebook(study.params, study.project))
    draw_quickly(monkeypatch)
    quick, axes = Figure.savefig, set()

    def savefig(fig, *args, **options):
        axes.update(ax.get_xlabel() for ax in fig.axes)
        quick(fig, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    run_cells(study, "17_validation")
    assert {label for label in axes if "onth" in label} == {
        "Months after TACE",
        "Months after TACE; below: deaths by then",
    }
    assert study.only_validated and not study.model.exists() and not (study.build / "risk.csv").exists()
    with record.recorded_stage(study, "validate", record.time.monotonic()):
        pass
    run = json.loads(record.write_run(study).read_text())
    assert {"figures/toy/validation_c_index.csv", "build/toy/validation/predictions.csv"} <= run["outputs"].keys()
    page = render(study, run)
    assert (
        "Nothing was trained. A saved model of study theirs" in page and "Tables and figures of the letter" not in page
    )
    assert "were split at random" not in page and "AutoEncoder (" not in page and "all trained on" not in page
    assert "Validation: TRIPOD+AI" in page and "C-index of the model of study theirs" in page
    assert page.count("after TACE") == 2 and "surgery" not in page
    assert verify(study).head.startswith("intact, compared with nothing")
    now = replace(study, params=study.params.model_copy(update={"seed": 99}))
    assert verify(now).notes == ["params/toy.yaml has changed since the run; make validate STUDY=toy MODEL=<folder>"]
    with zipfile.ZipFile(write_package(study)) as archive:
        names = archive.namelist()
    assert "figures/validation_calibration_summary.csv" in names and not any("predictions" in name for name in names)
