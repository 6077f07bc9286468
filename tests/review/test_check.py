"""make check: one page and one table, refusals in words, nothing of the headers or of free text."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from conftest import write_seg

from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.core.parameters import FeatureParams, Params, RoiFeatures, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.review.check import check_study, table_as_read
from analysis_lib.stages import StageError
from analysis_lib.stages.measure import measure_patients
from analysis_lib.ui.command_line import main

PM = RoiFeatures(parameter_file="features_pm.yaml")


@pytest.fixture
def study(patient, tmp_path):
    """Two patients on disk, the second without a mask, the third refused by the table."""
    ct, mask, *_ = patient
    data = tmp_path / "data" / "mine"
    (data / "ct").mkdir(parents=True)
    (data / "masks").mkdir()
    ct.rename(data / "ct" / "P1")
    mask.rename(data / "masks" / "P1.seg.nrrd")
    (data / "patients.csv").write_text(
        "patient_id,set,sex,height_m,os_months,os_event\nP1,kiel,M,1.7,30,1\nP2,kiel,F,1.6,20,0\nP3,kiel,F,172,20,0\n"
    )
    params = load_params("defaults")
    sets = {"kiel": {"label": "Kiel", "role": "train"}}
    params = Params.model_validate(params.model_dump() | {"study": "mine", "workers": 1, "cohort": {"sets": sets}})
    shutil.copytree(Project().params_dir, tmp_path / "params")
    sets |= dict.fromkeys(["discovery", "external", "lt"])
    own = {"base": "defaults", "title": "Mine", "workers": 1, "cohort": {"sets": sets}}
    (tmp_path / "params" / "mine.yaml").write_text(yaml.safe_dump(own))
    return Study(params, Project(tmp_path))


def test_page_and_table(study):
    found = check_study(study, quiet=True)
    table = pd.read_csv(study.build / "check" / "check.csv").set_index("patient_id")
    assert found.usable == 1
    assert table["status"].to_dict() == {"P3": "refused", "P2": "refused", "P1": "ok"}
    assert "looks like centimetres" in table.at["P3", "reason"]
    assert "mask" in table.at["P2", "reason"]
    assert table.at["P1", "slices"].startswith("3 (z = -85.0 mm)")
    assert table.at["P1", "segments"] == "SM 'SM' 640 pixels, PM 'PM' 84 pixels"
    page = (study.build / "check" / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "make study STUDY=mine" in page and 'src="http' not in page


def test_files_that_no_row_asks_for_are_counted_and_not_named(study, capsys):
    for name in ("Mustermann", "P9"):
        (study.data / "ct" / name).mkdir()
    (study.data / "masks" / "P9.nii.gz").touch()
    (study.data / "masks" / "labels.csv").touch()  # of all label maps
    (study.data / "ct" / "P2.nrrd").touch()
    remarks = check_study(study, quiet=True).remarks
    assert [text.split(" in the data folder")[0] for text in remarks] == ["2 CTs", "1 mask"]
    page = (study.build / "check" / "check.html").read_text()
    assert all(text in page for text in remarks) and "Mustermann" not in page
    main(["check", "--study", "mine", "--quiet"], study.project)
    assert capsys.readouterr().err.splitlines() == [f"warning: {text}" for text in remarks]


def test_a_mask_on_several_slices_tells_that_it_has_no_psoas_outline(study, patient):
    _, _, _, sm, pm, geometry = patient
    for mask in (sm, pm):
        mask[2] = mask[3]
    write_seg(study.data / "masks" / "P1.seg.nrrd", {"SM": sm, "PM": pm}, geometry)
    features = FeatureParams(rois={"pm": PM}, expected_count=27)
    thick = replace(study, params=study.params.model_copy(update={"features": features}))
    table = check_study(thick, quiet=True).table.set_index("patient_id")
    assert table.at["P1", "warnings"].startswith("indices only, no radiomics: PM: the mask reaches over 2 slices")
    assert "images.l3_slice: middle" in table.at["P1", "warnings"]
    images = study.params.images.model_copy(update={"l3_slice": "middle"})
    one = replace(study, params=thick.params.model_copy(update={"images": images}))
    assert check_study(one, quiet=True).table.set_index("patient_id").at["P1", "warnings"] == ""


def test_the_same_ct_under_two_names_is_pointed_out(study, capsys):
    for place in ("ct/P1", "masks/P1.seg.nrrd"):
        path = study.data / place
        other = path.with_name(path.name.replace("P1", "P2"))
        shutil.copytree(path, other) if path.is_dir() else shutil.copy(path, other)
    table = check_study(study, quiet=True).table.set_index("patient_id")
    assert table["status"].to_dict() == {"P3": "refused", "P1": "warning", "P2": "warning"}
    assert table.at["P1", "warnings"].startswith("the same CT series as P2: one patient twice")
    measure_patients(study, quiet=True)
    assert "warning: 2 patients share their CT series" in capsys.readouterr().err


def test_the_page_shows_how_the_table_was_read(study):
    clinical, _ = read_clinical(study.clinical_file, ["kiel"])
    table = table_as_read(clinical).set_index("column")
    assert table.loc["height_m"].tolist() == ["metres", 2, "median 1.65 (1.6 to 1.7)"]
    assert table.loc["os_event"].tolist() == ["0 no, 1 yes", 2, "0: 1, 1: 1"]
    assert table.loc["sex", "values"] == "F: 1, M: 1"
    assert table.loc["bmi"].tolist() == ["kg/m2", 0, "none"]
    check_study(study, quiet=True)
    assert "median 1.65 (1.6 to 1.7)" in (study.build / "check" / "check.html").read_text()


def test_nobody_can_be_analysed(study):
    (study.data / "masks" / "P1.seg.nrrd").unlink()
    assert check_study(study, quiet=True).usable == 0
    assert "Nobody can be analysed" in (study.build / "check" / "check.html").read_text()


def test_exit_status_says_whether_anyone_can_be_analysed(study, capsys):
    assert main(["check", "--study", "mine", "--quiet"], study.project) == 0
    assert capsys.readouterr().out.endswith("then: make study STUDY=mine\n")
    (study.data / "masks" / "P1.seg.nrrd").unlink()
    assert main(["check", "--study", "mine", "--quiet"], study.project) == 2
    assert "0 of 3 patients can be analysed" in capsys.readouterr().out


def test_doubts_of_the_whole_table_are_said_by_check_and_by_measure(study, capsys):
    text = study.clinical_file.read_text().replace("height_m", "heigth_m").replace("172", "1.7")
    study.clinical_file.write_text(text)
    sets = {"sets": {"kiel": {"label": "Kiel", "role": "train"}, "lt": {"label": "LT", "role": "test"}}}
    params = Params.model_validate(study.params.model_dump() | {"cohort": sets})
    ours = replace(study, params=params)
    remarks = check_study(ours, quiet=True).remarks
    assert "column heigth_m that is not used; did you mean height_m?" in remarks[0]
    assert remarks[1].startswith("no patient of the table is of the set lt; give null in cohort.sets")
    assert "heigth_m that is not used" in (study.build / "check" / "check.html").read_text()
    measure_patients(ours, quiet=True)
    assert capsys.readouterr().err.splitlines()[:2] == [f"warning: {text}" for text in remarks[:2]]


def test_images_that_fail_for_all_who_died_stop_the_study(study):
    rows = [f"P{k},kiel,M,1.7,30,{int(k > 1)}" for k in range(1, 4)]
    for place in ("ct/P1", "masks/P1.seg.nrrd"):
        path = study.data / place
        other = path.with_name(path.name.replace("P1", "P4"))
        shutil.copytree(path, other) if path.is_dir() else shutil.copy(path, other)
    study.clinical_file.write_text(
        "\n".join(["patient_id,set,sex,height_m,os_months,os_event", *rows, "P4,kiel,F,1.6,20,0\n"])
    )
    remark = "all 2 patients who died are excluded, and 2 who did not stay"
    assert remark in check_study(study, quiet=True).remarks[0]
    with pytest.raises(StageError, match=remark):
        measure_patients(study, quiet=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("p1", "differs in capitals only"),
        ("P-1", "differs in capitals, signs or leading zeros only"),
        ("P_01", "differs in capitals, signs or leading zeros only"),
        ("P10", "the mask of this patient is missing"),
    ],
)
def test_a_name_on_disk_that_is_almost_the_patients(study, name, said):
    (study.data / "masks" / "P1.seg.nrrd").rename(study.data / "masks" / f"{name}.seg.nrrd")
    shutil.copytree(study.data / "ct" / "P1", study.data / "ct" / "P2")
    reasons = check_study(study, quiet=True).table.set_index("patient_id")["reason"]
    assert said in reasons["P1"] and "mask" in reasons["P1"]
