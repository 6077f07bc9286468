"""The model on any table."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis_lib.common.table_columns import codes_of_missing, entry_times, identifiers
from analysis_lib.coxnet.covariates import OTHER, encode
from analysis_lib.coxnet.fit_table import TableError, _metrics, _mirrors, fit_table, read_table
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.survival.survival import c_index
from analysis_lib.ui.command_line import main


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    death, censored = rng.exponential(np.exp(-1.2 * x[:, 0])), rng.uniform(0.2, 3, 200)
    frame = pd.DataFrame(x, columns=["age", "size", "noise"])
    frame["stage"] = np.where(x[:, 1] > 0, "II", "I")
    frame.loc[3, "stage"], frame.loc[5, "age"] = None, np.nan
    frame["name"] = [f"patient {i // 2}" for i in range(200)]
    return frame.assign(time=np.minimum(death, censored), event=(death <= censored).astype(int))


def fitted_risks(folder, table: pd.DataFrame) -> pd.DataFrame:
    """Risk of each network, from the saved model."""
    x = table[["age", "noise", "size"]].assign(**{f"stage={k}": (table["stage"] == k) * 1.0 for k in ("I", "II")})
    return RadiomicsSurvivalModel.load(folder).risk_spread(x)


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
    assert list(risk) == ["row", "split", "risk", "spread"] and len(risk) == 200 and risk.notna().all(axis=None)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["duplicate_rows_train_test"] == [[199, 0]] and "row 199 is row 0" in " ".join(report["notes"])
    assert report["imputed"] == {"age": 1} and report["missing_categories"] == {"stage": 1}
    one = fitted_risks(tmp_path / "out" / "model", table)
    np.testing.assert_allclose(risk["spread"], one.std(axis=1, ddof=1))
    rows = (table["set"] == "test").to_numpy()
    expected = [c_index(table["time"][rows], table["event"][rows], one.loc[rows, k]) for k in one]
    assert report["c_index_by_network"]["test"] == pytest.approx(expected) and len(expected) == 2
    names = RadiomicsSurvivalModel.load(tmp_path / "out" / "model").scaler.names
    assert names == ["age", "noise", "size", "stage=I", "stage=II"]


def test_a_workbook_is_the_table_of_its_first_sheet(table, tmp_path, monkeypatch):
    path = tmp_path / "table.xlsx"
    with pd.ExcelWriter(path) as book:
        table.to_excel(book, index=False)
        pd.DataFrame({"notes": ["x"]}).to_excel(book, sheet_name="notes", index=False)
    pd.testing.assert_frame_equal(read_table(path, ["time"]).fillna(-1), table.fillna(-1), check_dtype=False)
    monkeypatch.setattr("analysis_lib.coxnet.fit_table.LARGEST_WORKBOOK", 1000)
    with pytest.raises(TableError, match="unpacks to 0 MB; save the table as CSV"):
        read_table(path, ["time"])
    path.write_bytes(b"PK no workbook")
    with pytest.raises(TableError, match="neither CSV, Parquet nor XLSX"):
        read_table(path, ["time"])


def test_covariates_that_are_the_outcome_are_named():
    rng = np.random.default_rng(5)
    months, died, learn = rng.exponential(20, 300), rng.integers(0, 2, 300), np.arange(300) < 200
    noise = rng.standard_normal(300)
    x = {"log_years": np.log(months / 12), "alive": 1.0 - died, "age": noise, "slope": months + 30 * noise}
    x |= {"last_visit": months.round(-1), "known_later": np.where(learn, noise, months), "one": np.ones(300)}
    x |= {"gaps": np.where(rng.random(300) < 0.3, np.nan, months)}
    assert _mirrors(pd.DataFrame(x), months, died, learn) == {
        "log_years": "the time",
        "alive": "the event",
        "last_visit": "the time",
        "gaps": "the time",
    }


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
    with pytest.raises(TableError, match="--drop 'name'"):
        fit_table(path, "time", "event", tmp_path)
    table.assign(event=2).to_csv(path, index=False)
    with pytest.raises(TableError, match="'event': 200 values are not 0 or 1"):
        fit_table(path, "time", "event", tmp_path, drop=["name"])
    with pytest.raises(TableError, match="there is no file"):
        fit_table(tmp_path / "none.csv", "time", "event", tmp_path)


def run(table: pd.DataFrame, folder, *options: str, suffix: str = ".csv") -> int:
    """The command; 0 if it fitted, 2 with a message if the table cannot be used."""
    path = folder / f"t{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    common = ["--time", "time", "--event", "event", "--seeds", "1", "--out", str(folder / "out")]
    return main(["fit", "--table", str(path), *common, *options])


def report_of(folder) -> dict:
    return json.loads((folder / "out" / "report.json").read_text())


def test_every_column_that_is_no_covariate_is_named_at_once(table, tmp_path, capsys):
    table["born"] = pd.date_range("1950-01-01", periods=200)
    table["waited"] = pd.to_timedelta(np.arange(200), "D")
    assert run(table, tmp_path, suffix=".parquet") == 2
    error = capsys.readouterr().err
    assert "--drop 'name' --drop 'born' --drop 'waited'" in error and error.count("\n") == 1
    assert run(table, tmp_path, "--drop", "name", "born", "waited", suffix=".parquet") == 0
    table["time"] = table["waited"]
    assert run(table, tmp_path, "--drop", "name", "born", "waited", suffix=".parquet") == 2
    assert "column 'time' holds dates or durations; it must hold numbers" in capsys.readouterr().err


def test_a_table_as_it_comes(table, tmp_path, capsys):
    """An exported index, numbers with strays, rare categories, a constant, bad times, events in words, valid rows."""
    table["age"] = table["age"].round(3).astype(str).where(np.arange(200) != 7, "unknown")
    table["site"] = np.array(["A", "B", "C1", "C2", "C3"])[np.minimum(np.arange(200) % 60, 4) % 5]
    table.loc[table["site"] == "C3", "site"] = np.where(np.arange((table["site"] == "C3").sum()) % 2, "A", "B")
    table["constant"] = 1
    table.loc[10, "time"], table.loc[11, "time"] = -1, np.nan
    table["event"] = table["event"].map({1: "True", 0: "False"})
    table["set"] = np.select([np.arange(200) < 100, np.arange(200) < 140], ["train", "valid"], "test")
    table.iloc[150] = table.iloc[20].where(table.columns != "set", "test")
    table.insert(0, "Unnamed: 0", np.arange(200))
    table["code"] = [f"patient {i}" for i in range(200)]
    assert run(table, tmp_path, "--split", "set", "--drop", "name") == 0
    notes, report = capsys.readouterr().err, report_of(tmp_path)
    assert report["identifiers"] == ["Unnamed: 0", "code"] and "only tells the rows apart and is left out" in notes
    assert report["duplicate_rows_train_test"] == [[150, 20]]  # which the row numbers would have hidden
    assert report["stray_words"] == {"age": 1} and report["imputed"]["age"] == 2
    assert report["rare_categories"] == {"site": 2} and "2 categories with fewer than 5 training rows" in notes
    assert report["constant"] == ["constant"] and report["valid_rows"] == 40 and "their C-index is no test" in notes
    assert set(report["excluded"]) == {"10", "11"}
    assert report["excluded"]["10"] == "'time' is negative" and report["excluded"]["11"] == "'time' is missing"


def test_words_are_read_from_training_rows_alone():
    words = pd.DataFrame({"stage": ["I"] * 6 + ["II"] * 6 + ["III", "IV"] + ["V", "I", None]})
    learn = np.arange(17) < 14
    x, care = encode(words, learn)
    assert list(x) == ["stage=I", "stage=II", f"stage={OTHER}"] and care["rare_categories"] == {"stage": 2}
    assert x.iloc[12:].to_numpy().tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert encode(words.iloc[:14], learn[:14])[0].equals(x.iloc[:14])


def test_a_split_without_events_has_no_c_index(table, tmp_path):
    table["set"] = np.where(np.arange(200) < 150, "train", "test")
    table.loc[table["set"] == "test", "event"] = 0
    assert run(table, tmp_path, "--split", "set", "--drop", "name") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["test"] == {"c_index": None, "low": None, "high": None, "n": 50, "events": 0}
    assert report_of(tmp_path)["c_index_by_network"]["test"] == [None]


def test_a_hundred_rows(table, tmp_path):
    assert run(table.iloc[:100], tmp_path, "--drop", "name") == 0


def test_a_radiomics_table_with_a_validation_cohort_alone(table, tmp_path, capsys):
    """PyRadiomics' own columns, hospital numbers, a word for a time, and no test set but the validation cohort."""
    table["patient_id"] = np.random.default_rng(1).permutation(90_000)[:200]
    table["diagnostics_Versions_PyRadiomics"], table["diagnostics_Mask-original_VoxelNum"] = "3.1.0", np.arange(200) % 7
    table["cohort"] = np.where(np.arange(200) < 140, "Training", "Validation")
    table["time"] = table["time"].astype(str).where(np.arange(200) != 9, "lost")
    table["event"] = table["event"].astype("boolean").where(np.arange(200) != 11)
    assert run(table, tmp_path, "--split", "cohort", "--drop", "name", suffix=".parquet") == 0
    notes, report = capsys.readouterr().err, report_of(tmp_path)
    assert report["identifiers"] == ["patient_id"] and len(report["diagnostics"]) == 2
    assert "so it is a test set here and nothing is learnt from it" in notes and report["valid_rows"] == 0
    assert report["excluded"] == {"9": "'time' is no number", "11": "'event' is missing"}
    model = RadiomicsSurvivalModel.load(tmp_path / "out" / "model")
    assert model.training.n_patients == 138 and model.scaler.names == ["age", "noise", "size", "stage=I", "stage=II"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["valid"]["n"] == 60


def test_categories_with_many_levels_and_names_that_clash():
    rng = np.random.default_rng(0)
    centre = np.array([f"centre {k}" for k in range(30)])[np.minimum(rng.geometric(0.15, 100), 30) - 1]
    x, care = encode(pd.DataFrame({"centre": centre}), np.ones(100, bool))
    assert f"centre={OTHER}" in x and care["rare_categories"]["centre"] >= 5 and (x.sum(axis=1) == 1).all()
    with pytest.raises(TableError, match="'stage=I', which is a column; rename one"):
        encode(pd.DataFrame({"stage": ["I", "II"] * 5, "stage=I": np.arange(10)}), np.ones(10, bool))


# ---- what a table may hold that is no covariate, and outcomes that say too little ---------------------------------


def plain(n=80, seed=3, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.standard_normal(n), "time": rng.exponential(20, n).round(1) + 1})
    return frame.assign(event=rng.integers(0, 2, n), set=np.where(np.arange(n) % 4 == 3, "test", "train"), **columns)


@pytest.mark.parametrize(
    "name",
    ["study_id", "participant_id", "USUBJID", "PatientID", "case.id", "MRN", "Study UID", "pseudonym", "patient"],
)
def test_an_identifier_is_no_covariate_whether_it_repeats_or_not(name):
    values = np.random.default_rng(0).permutation(1000)[:80]
    frame = pd.DataFrame({name: values, "x": np.random.default_rng(1).permutation(80)})
    assert identifiers(frame) == [name]
    for repeated in (np.repeat(values[:40], 2), [f"P{v}" for v in np.repeat(values[:40], 2)]):
        assert identifiers(frame.assign(**{name: repeated})) == [name]


@pytest.mark.parametrize("name", ["centre_id", "scanner id", "number", "lymph nodes no", "fluid", "valid", "paid"])
def test_few_values_or_another_word_make_no_identifier(name):
    assert identifiers(pd.DataFrame({name: np.arange(80) % 5, "x": np.random.default_rng(1).permutation(80)})) == []


def test_patients_in_training_and_test_are_counted(tmp_path, capsys):
    table = plain(patient_id=[f"P{k // 2}" for k in range(80)])
    assert run(table, tmp_path, "--split", "set") == 0
    assert "20 patients of 'patient_id' occur in training and test; they flatter" in capsys.readouterr().err
    assert report_of(tmp_path)["patients_train_test"] == {"patient_id": 20}
    assert run(table.drop(columns="set"), tmp_path) == 0  # the split that is drawn keeps a patient's rows together
    assert report_of(tmp_path)["patients_train_test"] == {"patient_id": 0}
    split = pd.read_csv(tmp_path / "out" / "risk.csv")["split"]
    assert (split.groupby(table["patient_id"]).nunique() == 1).all() and 15 < (split == "test").sum() < 33


@pytest.mark.parametrize("name", ["entry", "tstart", "Entry_time", "left", "delayed entry", "start.days"])
def test_a_time_of_entry_is_refused(tmp_path, capsys, name):
    table = plain()
    table[name] = (table["time"] / 3).round(2)
    assert run(table, tmp_path, "--split", "set") == 2
    assert f"column '{name}' looks like the time of entry" in capsys.readouterr().err
    assert (
        entry_times(table.assign(**{name: table["time"] + 1}), table["time"].to_numpy()) == []
    )  # no entry: after the end
    assert entry_times(table.assign(**{name: 0}), table["time"].to_numpy()) == []


def test_thousands_in_times_and_loss_by_outcome(tmp_path, capsys):
    table = plain()
    days = (table["time"] * 30).round().astype(int)
    table["time"] = days
    expected = fit_table(_csv(table, tmp_path), "time", "event", tmp_path / "a", split="set", seeds=1)
    table["time"] = [f"{day:,}" for day in days]
    assert (days > 999).sum() > 3 and run(table, tmp_path, "--split", "set") == 0
    assert "rows have commas between thousands, as 1,204, read as 1204" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == expected
    table["time"] = days.astype(float).where(table["event"] == 0)
    assert run(table, tmp_path, "--split", "set") == 2
    assert "patients who died are excluded, and" in capsys.readouterr().err
    table["time"] = days.astype(float).where((table["event"] == 0) | (np.arange(80) < 25))
    assert run(table, tmp_path, "--split", "set") == 0 and "exclusion depends on the outcome" in capsys.readouterr().err


def _csv(table: pd.DataFrame, folder):
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_few_events_say_nothing(tmp_path, capsys):
    for events in (1, 9, 10):
        table = plain().assign(event=lambda t, n=events: (np.cumsum(t["set"] == "train") <= n) & (t["set"] == "train"))
        assert run(table, tmp_path, "--split", "set") == 0
        notes = capsys.readouterr().err
        assert ("among the training rows: nothing can be learnt from so few" in notes) == (events < 10)
        train = json.loads((tmp_path / "out" / "metrics.json").read_text())["train"]
        assert train["events"] == events and (train["low"] is None) == (events == 1)
    assert _metrics(np.arange(1.0, 9), np.array([1, 0] * 4), pd.Series(2.0, range(8)), 0.95, 1)["c_index"] is None


@pytest.mark.parametrize(("code", "values"), [(-9, (20, 90)), (-99, (0, 3)), (999, (18, 90)), (9999, (1, 200))])
def test_codes_of_the_missing_among_covariates_are_pointed_out(code, values):
    rng = np.random.default_rng(0)
    column = pd.Series(rng.uniform(*values, 60)).where(np.arange(60) % 9 != 4, code)
    x, learn = pd.DataFrame({"age": column, "z": rng.standard_normal(60) * 5}), np.ones(60, bool)
    assert codes_of_missing(x, learn) == {"age": (code, 7)}
    x["age"] = column.where(column != code, values[0])
    assert codes_of_missing(x, learn) == {} and codes_of_missing(pd.DataFrame({"s": [-9, 0, 0, -9] * 15}), learn) == {}


@pytest.mark.parametrize(("column", "code"), [("age", "-9"), ("age", "999.0"), ("stage", "unknown"), ("time", "-9")])
def test_codes_of_the_missing_are_as_empty_cells(table, tmp_path, column, code):
    table = table.drop(columns="name")
    for name, value in (("empty", None), ("coded", code)):
        cells = table.assign(**{column: table[column].astype(object).where(np.arange(200) % 9 != 4, value)})
        cells.to_csv(tmp_path / f"{name}.csv", index=False)
        options = ["--time", "time", "--event", "event", "--seeds", "1", "--out", str(tmp_path / name)]
        options += ["--missing", "-9", "999", "unknown"] if value else []
        assert main(["fit", "--table", str(tmp_path / f"{name}.csv"), *options]) == 0
    for file in ("risk.csv", "metrics.json", "report.json"):
        assert (tmp_path / "coded" / file).read_bytes() == (tmp_path / "empty" / file).read_bytes()


def test_times_of_the_last_bit_are_ties(tmp_path):
    table = plain()
    table["time"] = np.tile(table["time"][:40], 2)
    fit_table(_csv(table, tmp_path), "time", "event", tmp_path / "a", split="set", seeds=1)
    table.loc[40:, "time"] *= 1 + 4e-16
    fit_table(_csv(table, tmp_path), "time", "event", tmp_path / "b", split="set", seeds=1)
    assert (tmp_path / "a" / "risk.csv").read_bytes() == (tmp_path / "b" / "risk.csv").read_bytes()
