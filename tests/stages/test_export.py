"""A model folder: refused if it is not as it was saved, harmless if made up, and, where shared, without patients."""

import base64
import json
import marshal
import os
import pickle
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from finished import toy_patients, toy_study
from lifelines import CoxPHFitter

from analysis_lib.common.files import seal
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.coxnet.tf_setup import keras
from analysis_lib.stages import StageError
from analysis_lib.stages.clinical_model import FILE, covariates, read_models
from analysis_lib.stages.export import LEAST, clinical_models, coarse_baseline, compared, shareable
from analysis_lib.stages.predict import PredictError, load_model
from analysis_lib.stages.validate import about

N = 61  # odd, so that every median is somebody's


@dataclass
class Fitted:
    model: RadiomicsSurvivalModel
    features: pd.DataFrame
    months: np.ndarray
    event: np.ndarray


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    rng = np.random.default_rng(3)
    hazard = rng.normal(size=N)
    x = hazard[:, None] * rng.normal(size=12) + rng.normal(size=(N, 12))
    x[:, 3] = np.where(rng.random(N) < 0.5, 0.0, x[:, 3])  # a value that many have
    x[:, 4] = 2.5
    x[rng.random((N, 12)) < 0.02] = np.nan
    x[4:, 5] = np.nan  # what four patients alone have
    features = pd.DataFrame(x, [f"P{k}" for k in range(N)], [f"f{k:02d}" for k in range(12)])
    months = rng.exponential(30 * np.exp(-hazard)) + 0.13
    event = rng.random(N) < 0.6
    small = AutoEncoderParams(code_size=3, max_epochs=20), NetworkParams(ensemble=2, max_epochs=20)
    return Fitted(RadiomicsSurvivalModel.fit(features, months, event, *small, seed=1), features, months, event)


@pytest.fixture
def folder(fitted, tmp_path):
    fitted.model.save(tmp_path / "model")
    return tmp_path / "model"


def numbers_in(folder) -> np.ndarray:
    """Every number that a model folder holds, in whatever format."""
    found = []

    def walk(value):
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                walk(item)
        elif isinstance(value, int | float):
            found.append(float(value))

    for path in folder.iterdir():
        if path.suffix == ".json":
            walk(json.loads(path.read_text()))
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                found += [v for name in stored.files for v in stored[name].ravel().astype(float)]
        elif path.suffix == ".keras":
            weights = keras.saving.load_model(path, compile=False).get_weights()
            found += [v for array in weights for v in array.ravel().astype(float)]
        elif path.suffix == ".csv":
            found += pd.read_csv(path, float_precision="round_trip").select_dtypes("number").to_numpy().ravel().tolist()
        else:
            assert path.suffix in ("", ".md"), f"nobody looked into {path.name}"
    return np.array(found)


def own_values(fitted) -> np.ndarray:
    """What fewer than LEAST patients have: features, months, risks."""
    risk, held_out = fitted.model.risk(fitted.features).to_numpy(), fitted.model.ensemble.held_out_risk
    pooled = np.concatenate([fitted.features.to_numpy().ravel(), fitted.months, risk, held_out])
    values, counts = np.unique(pooled[np.isfinite(pooled)], return_counts=True)
    return values[counts < LEAST]


def test_a_shared_model_holds_no_number_of_a_patient_and_the_saved_one_does(fitted, folder, tmp_path):
    assert np.isin(own_values(fitted), numbers_in(folder)).sum() > N
    shared = shareable(fitted.model, fitted.features, fitted.months, fitted.event)
    shared.save(tmp_path / "shared", texts={"MODEL_CARD.md": "card"})
    found = numbers_in(tmp_path / "shared")
    assert not np.isin(own_values(fitted), found).any()
    assert not np.isin(np.round(own_values(fitted), 10), np.round(found, 10)).any()
    assert load_model(tmp_path / "shared").ensemble.held_out_risk.size == 0


def test_a_shared_model_predicts_nearly_as_the_fitted_one(fitted):
    shared = shareable(fitted.model, fitted.features, fitted.months, fitted.event)
    change = compared(fitted.model, shared, fitted.features.iloc[4:], [6.0, 12.0, 36.0, 900.0])
    assert 0 < change.risk < 0.3 and change.survival < 0.1 and change.groups <= 3
    risks = [model.risk(fitted.features.iloc[4:]) for model in (fitted.model, shared)]
    assert np.corrcoef(*risks)[0, 1] > 0.999
    constant = shared.training.span.loc["f04"]
    assert constant.lower == constant.upper == 2.5, "what all have stays as it is, to the bit"


def test_clinical_models_are_those_of_lifelines_without_a_number_of_a_patient(tmp_path):
    rng, train = np.random.default_rng(5), toy_patients().query("split == 'train'").set_index("patient_id")
    train["age"] += rng.random(len(train))
    train.loc[train.index[:7], "vascular_invasion"] = np.nan
    train["tumour_single"] = (np.arange(len(train)) < LEAST - 1).astype(float)
    names = ["age", "sex", "tumour_single", "bmi", "vascular_invasion"]
    models = clinical_models(train, names)
    used = ["age", "sex", "bmi", "vascular_invasion"]
    assert [list(m.coefficients) for m in models] == [used[:k] for k in (1, 2, 3, 4)]
    assert [m.n for m in models] == [len(train)] * 3 + [len(train) - 7]
    last, x = models[-1], covariates(train, used).dropna()
    whole = x.join(train[["time_months", "event"]])
    truth = CoxPHFitter().fit(whole, "time_months", "event")
    assert truth.params_.to_dict() == pytest.approx(last.coefficients, rel=6e-4, abs=1e-6)
    months = np.array([last.months[-1], 900.0])  # the end of the baseline is exact
    risk = last.log_risk(train)
    assert risk.isna().sum() == 7 and last.deaths(risk, months)[900.0].isna().all()
    theirs = 1 - truth.predict_survival_function(x, months[:1]).T
    assert np.abs(last.deaths(risk.dropna(), months[:1]).to_numpy() - theirs.to_numpy()).max() < 2e-3
    text = json.dumps([m.model_dump() for m in models])
    (tmp_path / FILE).write_text(text)
    assert read_models(tmp_path) == models
    own = {v for v in (*train["age"], *train["time_months"], *risk.dropna()) if v % 1}  # the baseline has whole months
    assert not own & {v for m in models for v in [*m.means.values(), *m.months, *m.cumulative_hazard]}
    assert clinical_models(train.head(12), names) == [] and clinical_models(train.assign(event=0.0), names) == []


BROKEN = ["[1]", "[" * 100_000, '[{"n": 3}]', '{"a": 1}', "", "NaN"]
ONE = {"coefficients": {"age": 0.1}, "means": {"age": 55.0}, "months": [2.0, 1.0], "cumulative_hazard": [0.1, 0.2]}
BROKEN += [json.dumps([ONE | {"last_month": 3.0, "n": 9, "events": 5}])]
BROKEN += [json.dumps([ONE | {"months": [1, 2], "means": {"bmi": 1}, "last_month": 3, "n": 9, "events": 5}])]


@pytest.mark.parametrize("text", BROKEN)
def test_clinical_models_that_are_none_are_refused_in_one_line(tmp_path, text):
    assert read_models(tmp_path) == []
    (tmp_path / FILE).write_text(text)
    with pytest.raises(PredictError, match="are none; take the folder anew") as error:
        read_models(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("deaths", [5, 9, 23, 60])
def test_the_coarse_baseline_ends_as_the_exact_one_and_is_exact_where_enough_died(deaths):
    months = np.sort(np.random.default_rng(deaths).exponential(20, deaths)) + 0.01
    exact = pd.DataFrame({"months": months, "cumulative_hazard": np.linspace(0.02, 1.3, deaths)})
    coarse = coarse_baseline(exact, months)
    assert (coarse["months"] % 1 == 0).all() and (np.diff(coarse["cumulative_hazard"]) >= 0).all()
    assert coarse["cumulative_hazard"].iloc[-1] == pytest.approx(1.3)
    within = np.concatenate([[0], exact["cumulative_hazard"]])[np.searchsorted(months, coarse["months"], side="right")]
    bends = np.flatnonzero(np.abs(np.diff(coarse["cumulative_hazard"], 2)) > 1e-12) + 1
    assert np.allclose(coarse["cumulative_hazard"].to_numpy()[bends], within[bends])
    steps = np.searchsorted(months, [0, *coarse["months"].to_numpy()[bends]], side="right")
    assert (np.diff([*steps, deaths]) >= LEAST).all()


@pytest.mark.parametrize("event", [np.arange(N) < LEAST - 1, np.arange(N) >= LEAST - 1])
def test_too_few_to_hide_among_are_refused(fitted, event):
    with pytest.raises(StageError, match="too few for a model that gives none of them away"):
        shareable(fitted.model, fitted.features, fitted.months, event)


FILES = ["model.json", "scaler.json", "training_range.json", "ensemble.json", "ensemble.npz", "networks.keras",
         "autoencoder.keras", "SHA256SUMS"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["a bit", "cut", "emptied", "removed"])
def test_a_folder_that_is_not_as_it_was_saved_is_refused_in_one_line(folder, name, how):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes({"a bit": content, "cut": content[:-7], "emptied": b""}[how])
    with pytest.raises(PredictError) as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    assert name == "SHA256SUMS" or name in str(error.value)


@pytest.mark.parametrize("name", ["more.json", "hidden.py", "folder"])
def test_a_file_that_does_not_belong_there_is_refused(folder, name):
    (folder / name).mkdir() if name == "folder" else (folder / name).write_text("{}")
    with pytest.raises(PredictError, match=f"'{name}' is no file of it; take it away"):
        load_model(folder)


def with_layer(path, change) -> None:
    """Change the configuration of the networks' first Dense layer, as somebody who makes a file up would."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense"))
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


class Runs:
    """What unpickling it would run: it leaves a folder in the working folder."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def run_me(layer):
    """A layer with a lambda, as Keras keeps one."""
    layer |= {"class_name": "Lambda", "module": "keras.layers"}
    code = marshal.dumps((lambda x: __import__("os").mkdir("ran")).__code__)
    config = {"code": base64.b64encode(code).decode(), "defaults": None, "closure": None}
    layer["config"] |= {"function": {"class_name": "__lambda__", "config": config}}


def with_origin(folder, origin) -> None:
    """Change where the model says that it comes from."""
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"provenance": origin}))


ORIGIN = {"study": "theirs", "seed": 1, "synthetic": False, "required": {}}
MADE_UP = {
    "ten million units": lambda f: with_layer(f / "networks.keras", lambda la: la["config"].update(units=10**7)),
    "a layer that runs code": lambda f: with_layer(f / "networks.keras", run_me),
    "another module": lambda f: with_layer(f / "networks.keras", lambda la: la.update(class_name="os.system")),
    "no units": lambda f: with_layer(f / "networks.keras", lambda la: la["config"].pop("units")),
    "deep JSON": lambda f: (f / "model.json").write_text("[" * 100_000),
    "other JSON": lambda f: (f / "scaler.json").write_text("[1, 2]"),
    "an origin that is none": lambda f: with_origin(f, [1]),
    "an origin without what it asks for": lambda f: with_origin(f, {"study": "x"}),
    "a study's name that clears the screen": lambda f: with_origin(f, ORIGIN | {"study": "x\x1b[2J"}),
    "text for a model": lambda f: (f / "autoencoder.keras").write_text("import os"),
    "pickled arrays": lambda f: (f / "ensemble.npz").write_bytes(pickle.dumps(Runs())),
}


def test_what_is_planted_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Runs()))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", MADE_UP)
def test_a_folder_that_somebody_made_up_is_refused_in_one_line_and_runs_no_code(folder, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MADE_UP[name](folder)
    seal(folder)
    with pytest.raises(PredictError, match="cannot be read as a saved model") as error:
        load_model(folder)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("mix", ["words", [1], {"n": ["many"], "value": [1]}, {"n": [1, 2], "value": [1]}])
def test_a_case_mix_that_is_none_is_refused_in_one_line(folder, tmp_path, mix):
    with_origin(folder, ORIGIN | {"case_mix": mix})
    seal(folder)
    with pytest.raises(PredictError, match="case mix in model.json is none") as error:
        about(load_model(folder), toy_study(tmp_path), folder, [])
    assert "\n" not in str(error.value)


def test_what_is_told_of_a_model_names_no_path_of_this_machine(folder, tmp_path):
    mix = {"characteristic": ["age"], "n": [20], "value": [51.5], "low": [44.0], "high": [None]}
    with_origin(folder, ORIGIN | {"case_mix": mix})
    seal(folder)
    told = about(load_model(folder), toy_study(tmp_path / "elsewhere"), folder, [])
    assert told["folder"] == "model" and str(tmp_path) not in json.dumps(told)
    assert told["case_mix"] == mix and told["n_patients"] == N
