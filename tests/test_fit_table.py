"""The model on any table."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis_lib.modelling.fit_table import TableError, fit_table
from analysis_lib.modelling.model import RadiomicsSurvivalModel


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    death, censored = rng.exponential(np.exp(-1.2 * x[:, 0])), rng.uniform(0.2, 3, 200)
    frame = pd.DataFrame(x, columns=["age", "size", "noise"])
    frame["stage"] = np.where(x[:, 1] > 0, "II", "I")
    frame.loc[3, "stage"], frame.loc[5, "age"] = None, np.nan
    frame["name"] = [f"patient {i}" for i in range(200)]
    return frame.assign(time=np.minimum(death, censored), event=(death <= censored).astype(int))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_fits_measures_and_writes(table, tmp_path, suffix):
    table["set"] = np.where(np.arange(200) < 140, "train", np.where(np.arange(200) < 170, "test", "external"))
    table.iloc[199, :-1] = table.iloc[0, :-1]
    path = tmp_path / f"table{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    metrics = fit_table(path, "time", "event", tmp_path / "out", split="set", drop=["name"], seeds=2)
    assert set(metrics) == {"train", "test", "external"}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    test = metrics["test"]
    assert test["low"] < test["c_index"] < test["high"] and test["n"] == 30
    assert test["events"] == table.loc[140:169, "event"].sum()
    assert test["c_index"] > 0.65
    risk = pd.read_csv(tmp_path / "out" / "risk.csv")
    assert list(risk) == ["row", "split", "risk"] and len(risk) == 200 and risk["risk"].notna().all()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["duplicate_rows_train_test"] == 1
    assert report["imputed"] == {"age": 1}
    names = RadiomicsSurvivalModel.load(tmp_path / "out" / "model").scaler.names
    assert names == ["age", "noise", "size", "stage=I", "stage=II"]


def test_draws_a_stratified_split_and_takes_an_autoencoder(table, tmp_path):
    table.to_csv(tmp_path / "t.csv", index=False)
    metrics = fit_table(tmp_path / "t.csv", "time", "event", tmp_path, drop=["name"], code_size=100, seeds=1)
    assert metrics["test"]["n"] == pytest.approx(60, abs=1)
    assert metrics["test"]["events"] == int(0.3 * table["event"].sum())


def test_errors_name_the_column(table, tmp_path):
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    with pytest.raises(TableError, match="no column 'tme'"):
        fit_table(path, "tme", "event", tmp_path)
    with pytest.raises(TableError, match="--drop name"):
        fit_table(path, "time", "event", tmp_path)
    table.assign(event=2).to_csv(path, index=False)
    with pytest.raises(TableError, match="'event': 200 values are not 0 or 1"):
        fit_table(path, "time", "event", tmp_path, drop=["name"])
    with pytest.raises(TableError, match="there is no file"):
        fit_table(tmp_path / "none.csv", "time", "event", tmp_path)
