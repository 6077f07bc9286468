"""A study from tables: indices and features that were measured elsewhere, and images for what they lack."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_study import ONE_WORKER, TinyStudy

from analysis_lib.cohort.index_columns import taken_from_table
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Project, Study
from analysis_lib.results.table1 import process_labels
from analysis_lib.review.check import check_study
from analysis_lib.review.methods import methods
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


def test_indices_of_the_table_need_no_image(tiny):
    table = tiny.table(**AREAS, sm_mean_hu=[40, 41, "", 43, 44, 45], pm_mean_hu=50)
    study = tiny.study(features={})
    measure_patients(study, quiet=True)
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
