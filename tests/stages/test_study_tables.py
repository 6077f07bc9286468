"""A study from tables: indices and features that were measured elsewhere, and images for what they lack."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_study import ONE_WORKER, TinyStudy

from analysis_lib.cohort.index_columns import taken_from_table
from analysis_lib.core.parameters import Params
from analysis_lib.core.prepare import list_inputs
from analysis_lib.core.project import Project, Study
from analysis_lib.results.process import process_labels
from analysis_lib.review.check import check_study
from analysis_lib.review.methods import methods
from analysis_lib.stages import StageError
from analysis_lib.stages.assemble import assemble_patients, list_exclusions
from analysis_lib.stages.features import extract_features
from analysis_lib.stages.measure import measure_patients

IDS = ["A1", "A2", "B1", "B2", "C1", "C2"]


@pytest.fixture
def tiny(tmp_path):
    """Makes a study of a few patients; ``study`` reads it with further parameters."""

    class Tiny(TinyStudy):
        def study(self, **parameters) -> Study:
            merged = Project().params("defaults").model_dump(mode="json") | yaml.safe_load(ONE_WORKER) | {"study": "t"}
            merged["images"] = {**Project().params("defaults").images.model_dump(mode="json"), "min_mask_pixels": 20}
            merged.pop("base")
            return Study(Params.model_validate(merged | parameters), Project(tmp_path))

        def table(self, **columns) -> pd.DataFrame:
            self.write_table(IDS, set=["discovery", "external"] * 3, os_event=[0, 1, 1, 0, 1, 0], **columns)
            return pd.read_csv(self.data / "patients.csv")

    shutil.copytree(Project().params_dir, tmp_path / "params")
    return Tiny(tmp_path, "t")


AREAS = {"sm_area_cm2": [110.5, 120, 130, 140, 150, 160], "pm_area_cm2": [11, 12, 13, 14, 15.25, 16]}


def test_indices_of_the_table_need_no_image(tiny, capsys):
    table = tiny.table(**AREAS, sm_mean_hu=[40, 41, "", 43, 44, 45], pm_mean_hu=50)
    study = tiny.study(features={})
    measure_patients(study, quiet=True)
    said = "note: no image is opened for what the clinical table has: sm_area_cm2, sm_mean_hu, pm_area_cm2, pm_mean_hu"
    assert said in capsys.readouterr().err
    measured = study.measured().set_index("patient_id")
    assert measured["sm_area_cm2"].tolist() == AREAS["sm_area_cm2"] and np.isnan(measured.at["B1", "sm_mean_hu"])
    height = table.set_index("patient_id")["height_m"]
    assert measured["smi"].tolist() == (measured["sm_area_cm2"] / height**2).tolist()
    assert (measured[["ct_series", "series_uid", "slices_z_mm"]] == "").all(axis=None)
    assert taken_from_table(measured) == ["sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu"]
    assert study.measured_exclusions().empty
    found = check_study(study, quiet=True)
    assert found.usable == 6 and not found.pictures and "sm_area_cm2 6, sm_mean_hu 5" in " ".join(found.remarks)
    assert "No image was read" in (study.build / "check" / "check.html").read_text()
    text = dict(methods(study.params, measured.assign(split="train"), 0))["Images"]
    assert "Taken from the clinical table" in text and "No image was read" in text and "masks" not in text
    assert process_labels(study.params, measured, 0) == [
        "Muscle indices from the clinical table and 5 definitions of sarcopenia"
    ]


def test_the_printed_index_counts_and_its_area_follows(tiny):
    smi = [40.0, 41.0, 42.0, "", 44.0, 45.0]
    table = tiny.table(smi=smi, height_m=[1.7, 1.6, "", 1.8, 1.55, 1.65])
    study = tiny.study(features={})
    measure_patients(study, quiet=True)
    measured = study.measured().set_index("patient_id")
    assert measured["smi"].tolist() == [40, 41, 42, 44, 45]  # to the bit, though it is area / height squared too
    assert measured.at["A1", "sm_area_cm2"] == 40.0 * 1.7**2 and np.isnan(measured.at["B1", "sm_area_cm2"])
    excluded = study.measured_exclusions()
    assert (
        excluded["patient_id"].tolist() == ["B2"] and "none of the patient's muscle indices" in excluded.at[0, "reason"]
    )
    assert len(table) == 6 and check_study(study, quiet=True).usable == 5


def test_images_give_what_the_table_lacks(tiny):
    for name in IDS[:5]:
        tiny.add_patient(name)
    (tiny.data / "masks" / "A2.seg.nrrd").unlink()
    sm = {"sm_area_cm2": AREAS["sm_area_cm2"], "sm_mean_hu": 40}
    tiny.table(**sm)
    study = tiny.study()
    measure_patients(study, quiet=True)
    both = study.measured().set_index("patient_id")
    assert both["sm_area_cm2"].tolist() == AREAS["sm_area_cm2"] and (both["sm_mean_hu"] == 40).all()
    assert both["pm_area_cm2"].notna().tolist() == [True, False, True, True, True, False]
    assert "the mask of this patient is missing" in both.at["A2", "ct_notes"] and both.at["A1", "ct_series"]
    tiny.table()
    alone = tiny.study()
    measure_patients(alone, quiet=True)
    from_images = alone.measured().set_index("patient_id")
    assert from_images.index.tolist() == ["A1", "B1", "B2", "C1"]
    psoas = ["pm_area_cm2", "pm_mean_hu", "pmi"]
    pd.testing.assert_frame_equal(both.loc[from_images.index, psoas], from_images[psoas])
    found = check_study(study, quiet=True)
    assert found.usable == 4 and len(found.pictures) == 6


# ---- features from a table ------------------------------------------------------------------------------------


def table_of_features(tiny, ids=IDS, seed=1) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(len(ids), 12))
    table = pd.DataFrame(values, columns=[f"texture {k}" for k in range(12)]).assign(patient_id=ids)
    table.to_parquet(tiny.data / "features.parquet", index=False)
    return table.set_index("patient_id")


def test_features_of_a_table_are_taken_as_they_are(tiny):
    tiny.table(**AREAS)
    table = table_of_features(tiny, IDS[:5])
    study = tiny.study(features={"table": "features.parquet", "expected_count": 1343})
    measure_patients(study, quiet=True)
    extract_features(study, quiet=True)
    assemble_patients(study)
    list_exclusions(study)
    pd.testing.assert_frame_equal(study.features(), table, check_exact=True)
    assert study.n_features == 12 and len(study.patients()) == 6  # the sixth has his indices
    assert study.exclusions()[["patient_id", "stage", "reason"]].values.tolist() == [
        ["C2", "radiomics", "no row in features.parquet"]
    ]
    assert process_labels(study.params, study.patients(), study.n_features)[1] == "12 radiomics features from a table"
    assert "12 features were taken from a table" in dict(methods(study.params, study.patients(), 12))["Radiomics"]
    found = check_study(study, quiet=True)
    said = found.table.set_index("patient_id")["warnings"]
    assert said["C2"] == "indices only, no radiomics: no row in features.parquet" and said["A1"] == ""
    (tiny.data / "features.parquet").unlink()
    said = " ".join(check_study(study, quiet=True).remarks)
    assert "make study will stop: feature table t/features.parquet not found" in said


def test_a_loss_of_features_by_outcome_is_no_silent_one(tiny, capsys):
    ids, died = [f"P{k:02d}" for k in range(24)], [k % 2 for k in range(24)]
    tiny.write_table(ids, set="discovery", os_event=died, sm_area_cm2=[120 + k for k in range(24)])
    study = tiny.study(features={"table": "features.parquet"})
    measure_patients(study, quiet=True)
    lived = ids[::2]
    table_of_features(tiny, [*lived, "P01", "P03"])
    extract_features(study, quiet=True)
    said = "warning: features: exclusion depends on the outcome: 10 of 12 patients who died and 0 of 12 who lived"
    assert said in capsys.readouterr().err
    table_of_features(tiny, lived)
    with pytest.raises(StageError, match="features: all 12 patients who died are excluded.*no row in features.parquet"):
        extract_features(study, quiet=True)


def test_features_of_images_beside_indices_of_a_table(tiny):
    """Who has no usable image keeps his indices."""
    for name in IDS[:3]:
        tiny.add_patient(name)
    (tiny.data / "masks" / "A2.seg.nrrd").unlink()
    tiny.table(**AREAS, sm_mean_hu=40, pm_mean_hu=50)
    study = tiny.study(features={"rois": {"pm": {"parameter_file": "features_pm.yaml"}}, "expected_count": 27})
    measure_patients(study, quiet=True)
    assert (study.measured()["ct_series"] == "").all()  # not opened for the indices
    extract_features(study, quiet=True)
    assemble_patients(study)
    list_exclusions(study)
    assert study.featured().tolist() == ["A1", "B1"] and len(study.patients()) == 6
    assert set(study.exclusions()["stage"]) == {"radiomics"}


def test_a_changed_table_of_features_is_seen_apart_from_the_other_inputs(tiny):
    tiny.table(**AREAS)
    table_of_features(tiny)
    study = tiny.study(features={"table": "features.parquet"})

    def listed():
        list_inputs(study)
        return [(study.build / f"{name}.txt").read_text() for name in ("inputs", "feature_inputs")]

    before = listed()
    table_of_features(tiny, IDS[:4], seed=2)
    after = listed()
    assert before[0] == after[0] and before[1] != after[1]
    tiny.table(**AREAS, sm_mean_hu=40)
    assert listed()[0] != after[0] and listed()[1] == after[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": {"table": "../features.csv"}}, "without a path"),
        ({"features": {"table": "f.csv"}, "stability": {"patients": 20}}, "needs images whose features can be"),
    ],
)
def test_parameters_of_a_table_that_cannot_be(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.study(**changes)


@pytest.mark.parametrize("name", ["indices", "features"])
def test_the_examples_of_the_page_are_parameter_files(name, tmp_path):
    page = (Project().root / "docs" / "own_data.md").read_text(encoding="utf-8")
    text = re.search(rf"<!-- test: {name} -->\n```yaml\n(.*?)```", page, flags=re.DOTALL)[1]
    shutil.copytree(Project().params_dir, tmp_path / "params")
    (tmp_path / "params" / "example.yaml").write_text(text)
    params = Project(tmp_path).params("example")
    assert list(params.cohort.sets) == ["discovery"]
    assert len(params.definitions) == (1 if name == "indices" else 5) and params.radiomics == (name == "features")
    assert params.features.rois == {} and params.clinical.columns["patient_id"] == "Pat-Nr"
