"""Project and study: where things lie, and that what is written is what is read."""

import re
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

import analysis_lib
from analysis_lib.core.notebooks import NotebookError, run_notebook
from analysis_lib.core.parameters import FeatureParams, load_params
from analysis_lib.core.project import NoModelError, Project, Study
from analysis_lib.coxnet.cutoff import high_risk
from analysis_lib.ui.notebook import ArtefactError, Notebook

IDS = pd.Index(["001", "002", "010"], name="patient_id")
SPLIT = pd.Series(["train", "train", "internal"], IDS, name="split")


@pytest.fixture
def study(tmp_path):
    return Study(load_params("smoke"), Project(tmp_path))


def test_everything_lies_below_the_root(study, tmp_path):
    places = [study.data, study.clinical_file, study.build, study.figures, study.cache, study.model]
    places += [study.executed("01_cohort"), *study.parameter_files.values(), study.project.expected]
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert study.project.name_of(study.build / "risk.csv") == "build/smoke/risk.csv"


def test_another_studys_data_are_read_where_they_lie(study, tmp_path):
    other = Study(study.params.model_copy(update={"data_dir": "data/other"}), study.project)
    assert other.data == tmp_path / "data" / "other" and other.build == study.build


def test_risks_are_read_back_to_the_last_bit(study):
    values = pd.Series([0.1 + 0.2, -1 / 3, np.nan], IDS)
    study.write_risk(values, SPLIT, pd.Series(0.3, IDS))
    assert (study.build / "risk.csv").read_text().splitlines()[:2] == [
        "patient_id,set,risk,spread",
        "001,train,0.30000000000000004,0.3",
    ]
    assert study.risk()["patient_id"].tolist() == list(IDS)
    study.write_held_out_risk(values)
    pd.testing.assert_series_equal(study.held_out_risk(), values.rename("risk"))
    curves = pd.DataFrame({6.0: values, 7.5: values / 7}, IDS)
    study.write_survival(curves, SPLIT)
    pd.testing.assert_frame_equal(study.survival(), curves)
    assert (study.build / "survival.csv").read_text().startswith("patient_id,set,survival_6,survival_7.5\n")
    times = pd.DataFrame({"model": ["SM area"], "seconds": [1.5]})
    study.write_comparators(pd.DataFrame({"SM area": values}), SPLIT, times)
    pd.testing.assert_frame_equal(study.comparators(), pd.DataFrame({"SM area": values}))
    pd.testing.assert_frame_equal(study.training_times(), times)


def test_a_patient_at_his_own_cut_off_is_not_above_it(study):
    values = np.random.default_rng(1).standard_normal(501)
    ids = pd.Index([f"P{k:03}" for k in range(501)], name="patient_id")
    study.write_risk(pd.Series(values, ids), pd.Series("train", ids), pd.Series(0.0, ids))
    study.write_optimism(pd.DataFrame({"value": values}))
    assert (study.risk()["risk"].to_numpy() == values).all()
    assert not high_risk(study.risk()["risk"].to_numpy(), float(np.median(values)))[np.argsort(values)[250]]
    assert (study.optimism()["value"].to_numpy() == values).all()


def test_every_table_of_numbers_is_read_exactly():
    for path in (Project().root / "analysis_lib").rglob("*.py"):
        for call in re.findall(r"\bpd\.read_csv\((.*)", path.read_text(encoding="utf-8")):
            assert "round_trip" in call or "dtype=str" in call, f"{path.name}: use common.files.read_csv"


def test_who_has_features_has_radiomics(study):
    patients = pd.DataFrame({"patient_id": IDS, "split": SPLIT.to_numpy()})
    study.write_patients(patients)
    study.write_exclusions(pd.DataFrame(columns=["patient_id", "stage", "reason", "set"]))
    study.write_features(pd.DataFrame({"a": [1.0, 2.0]}, IDS[:2]))
    assert study.patients(with_radiomics=True)["patient_id"].tolist() == ["001", "002"]
    assert len(study.patients()) == 3 and study.features().shape == (2, 1)
    alone = Study(study.params.model_copy(update={"features": FeatureParams()}), study.project)
    with pytest.raises(NoModelError, match="no radiomics"):
        alone.patients(with_radiomics=True)


def test_answers_are_kept_by_notebook(study):
    study.write_answer("02_sarcopenia", "Second.")
    study.write_answer("01_cohort", "First.")
    study.write_answer("02_sarcopenia", "Zweitens: ≥ 2.")
    assert study.answers() == {"01_cohort": "First.", "02_sarcopenia": "Zweitens: ≥ 2."}


def test_multiverse_and_search_are_read_back(study):
    table = pd.DataFrame({"hr": [1 / 3], "p": [0.1 + 0.2]})
    study.write_multiverse(table, table, table)
    assert all(frame.equals(table) for frame in study.multiverse().values())
    study.write_search(table)
    assert study.search().equals(table)


def test_a_notebook_saves_what_it_is_declared_to_make_and_nothing_else(tmp_path):
    notebook = Notebook(load_params("smoke"), Project(tmp_path))
    with pytest.raises(ArtefactError, match="no notebook is declared to make 'fig9'"):
        notebook.save("fig9", pd.DataFrame({"a": [1]}))
    assert not notebook.figures.exists()
    assert str(notebook).splitlines()[1].startswith("Synthetic images")


def test_the_package_offers_what_to_call_first_and_loads_nothing_heavy():
    code = "import sys, analysis_lib; print(*(m for m in ('numpy', 'pandas', 'pydantic') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
    assert analysis_lib.load_params("smoke").study == "smoke" and analysis_lib.Study is Study
    assert analysis_lib.open_study("smoke", analysis_lib.Project()).name == "smoke"
    with pytest.raises(AttributeError, match="it offers Project, Study"):
        analysis_lib.nothing  # noqa: B018


def test_a_notebook_whose_process_dies_is_told_in_one_line(study, capfd, caplog):
    parameters = nbformat.v4.new_code_cell("study = 'smoke'", metadata={"tags": ["parameters"]})
    study.project.notebooks.mkdir()
    cells = [parameters, nbformat.v4.new_code_cell("import os; os.kill(os.getpid(), 9)")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}),
        study.project.notebooks / "01_cohort.ipynb",
    )
    with pytest.raises(NotebookError, match="notebook 01_cohort: its Python process ended before its time") as caught:
        run_notebook(study, "01_cohort")
    assert "goes on where it stopped" in str(caught.value) and "\n" not in str(caught.value)
    assert not study.executed("01_cohort").exists()
    assert "Traceback" not in capfd.readouterr().err + caplog.text
