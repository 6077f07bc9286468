"""make check: one page and one table, refusals in words, nothing of the headers or of free text."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import write_seg

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical
from analysis_lib.cohort.reading import read_reading
from analysis_lib.core.parameters import FeatureParams, Params, RoiFeatures, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.figures.check_page import BATCH, check_page, thumbnail
from analysis_lib.review.check import COLUMNS, NUMBERS, _indices, check_study, table_as_read
from analysis_lib.review.pictures import body_box
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


def test_indices_stand_in_the_table_and_on_the_tiles(study):
    table = check_study(study, quiet=True).table.set_index("patient_id")
    measure_patients(study, quiet=True)
    measured = study.measured().set_index("patient_id").loc["P1"]
    for name in ("sm_area_cm2", "sm_mean_hu", "smi", "pm_area_cm2", "pmi", "pm_mean_hu"):
        assert table.at["P1", name] == pytest.approx(measured[name]), name
    assert table.at["P1", "outlier_z"] == ""  # two patients tell nothing of what is usual


def test_the_most_unusual_number_of_a_patient_is_found():
    ids, rng = [f"P{k}" for k in range(40)], np.random.default_rng(1)
    rows = pd.DataFrame(
        {"patient_id": ids, "sm_area_cm2": rng.normal(130, 10, 40), "pm_area_cm2": rng.normal(15, 1, 40)}
    )
    rows = rows.assign(sm_mean_hu=rng.normal(40, 5, 40), pm_mean_hu=rng.normal(45, 5, 40))
    rows.loc[3, "sm_area_cm2"], rows.loc[4, "pm_mean_hu"] = 300.0, -80.0
    clinical = pd.DataFrame({"height_m": 1.7, "sex": ["M", "F"] * 20}, index=ids)
    found = _indices(rows, clinical)["outlier_z"]
    assert found[3] > 8 and found[4] < -8 and found.drop([3, 4]).abs().max() < 6
    clinical["sex"] = "M"
    clinical.iloc[:5, clinical.columns.get_loc("sex")] = "F"  # five women
    assert _indices(rows, clinical)["outlier_z"].isna().tolist() == [k < 5 for k in range(40)]


READING = "patient_id,verdict,reason,reader\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("P1,reject,,AB\n", "a rejection without a reason in line 2; mend"),
        ("P1,reject,arms,\n", "a rejection without a reader in line 2"),
        ("P1,accept,,AB\nP1,reject,arms,AB\n", "a patient twice in line 3"),
        ("P1,maybe,,AB\n", "a verdict that is none of accept, doubt, reject in line 2"),
    ],
)
def test_a_reading_that_cannot_be_used_says_which_line_is_to_be_mended(tmp_path, text, said):
    (tmp_path / "reading.csv").write_text(READING + text)
    with pytest.raises(ClinicalTableError, match=said):
        read_reading(tmp_path / "reading.csv")
    (tmp_path / "reading.csv").write_text("patient_id,verdict\n")
    with pytest.raises(ClinicalTableError, match=r"reading.csv lacks reason, reader"):
        read_reading(tmp_path / "reading.csv")
    with pytest.raises(ClinicalTableError, match="there is no other.csv"):
        read_reading(tmp_path / "other.csv")


def test_whom_a_reader_rejects_is_excluded_with_reason_and_reader(study):
    for place in ("ct/P1", "masks/P1.seg.nrrd"):
        path = study.data / place
        other = path.with_name(path.name.replace("P1", "P2"))
        shutil.copytree(path, other) if path.is_dir() else shutil.copy(path, other)
    clinical = study.params.clinical.model_copy(update={"reading": "reading.csv"})
    ours = replace(study, params=study.params.model_copy(update={"clinical": clinical}))
    (study.data / "reading.csv").write_text(
        READING + 'P1,reject,"wrong level, L4",AB\nP2,doubt,metal,AB\nP9,accept,,AB\n'
    )
    found = check_study(ours, quiet=True)
    assert found.usable == 1 and "decides on 1 patients who are not in the clinical table" in " ".join(found.remarks)
    table = found.table.set_index("patient_id")
    assert table.at["P1", "warnings"].startswith("rejected: wrong level, L4 (read by AB)")
    page = (study.build / "check" / "check.html").read_text()
    assert '"said": {"verdict": "doubt", "reason": "metal", "reader": "AB"}' in page
    measure_patients(ours, quiet=True)
    excluded = ours.measured_exclusions().set_index("patient_id")
    assert excluded.loc["P1"].tolist() == ["reading", "wrong level, L4 (read by AB)", "kiel"]
    assert ours.measured()["patient_id"].tolist() == ["P2"]


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


def many(n: int) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows and pictures of n patients, one picture for all."""
    rng, names = np.random.default_rng(2), [f"P{k:04d}" for k in range(n)]
    numbers = rng.normal(50, 5, (n, len(NUMBERS)))
    table = pd.DataFrame(numbers, columns=NUMBERS).assign(
        patient_id=names, set="kiel", status="ok", series="A", reason=""
    )
    table = table.assign(series_uid="1", slices="3", segments="SM", flags="", warnings="").reindex(columns=COLUMNS)
    table.loc[5, ["flags", "status", "warnings", "outlier_z"]] = ["arms", "warning", "arms </script>", -99.0]
    picture = thumbnail(rng.normal(40, 90, (200, 300)), {"sm": np.ones((200, 300), bool)}, (0.8, 0.8))
    return table, dict.fromkeys(names, picture)


def room(study, n: int) -> str:
    columns = pd.DataFrame({"column": ["sex"], "unit": [""], "known": [n], "values": [""]})
    return check_page(*many(n), "mine", study.params.cohort, 0, True, [], columns)


def test_each_tile_has_its_size_and_no_text_ends_the_script(study):
    page = room(study, 8)
    tiles = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [(t["w"], t["h"]) for t in tiles] == [(440, 293)] * 8 and tiles[5]["why"] == "arms </script>"
    assert tiles[5]["z"] == -99.0 and tiles[0]["said"] is None


def test_a_picture_stands_once_and_only_those_of_the_first_slices_before_the_script(study):
    page = room(study, 826)
    before, behind = page.split('id="later">')
    assert (before.count("data:image/"), behind.count("data:image/")) == (BATCH, 826 - BATCH)
    assert len(re.sub(r"data:image/[^\"]*", "", before)) < 500_000  # bytes, of the texts of 826 patients


def test_a_slice_is_cut_to_the_body_and_its_outlines(study):
    hounsfield = np.full((200, 300), -1000.0)
    hounsfield[60:140, 100:200] = 40
    hounsfield[180, 20:280] = 0  # the table
    mask = np.zeros((200, 300), bool)
    mask[70:90, 90:110] = True
    rows, columns = body_box(hounsfield, {"sm": mask}, (1.0, 2.0))
    assert (rows.start, rows.stop, columns.start, columns.stop) == (54, 146, 87, 203)
    assert body_box(np.full((4, 4), -1000.0), {}, (1, 1)) is None


DRAWN = "document.querySelector('#sheet img').naturalWidth === 440"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
def test_the_reading_room_in_chromium(study, tmp_path):
    """Sorted by outlier z, filtered, decided by keys and saved; not more than a screen or two of 826 slices is made."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "check.html").write_text(room(study, 826), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page, errors = browser.new_page(viewport={"width": 1280, "height": 900}), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        text = (tmp_path / "check.html").read_text(encoding="utf-8")
        (tmp_path / "begun.html").write_text(text[: text.index('<script type="application/json" id="later">')], "utf-8")
        begun = browser.new_page()
        begun.goto((tmp_path / "begun.html").as_uri())  # as a page of which the rest is still to be read
        begun.wait_for_function(DRAWN)
        page.goto((tmp_path / "check.html").as_uri())
        tiles = page.locator("#sheet figure")
        assert 0 < tiles.count() < 300 and "826 of 826 shown" in page.locator("#count").inner_text()
        page.select_option("#sort", "z")
        assert tiles.first.get_attribute("id") == "p-P0005" and "arms" in tiles.first.inner_text()
        page.select_option("#sort", "id")
        assert tiles.first.get_attribute("id") == "p-P0825"
        page.wait_for_function(DRAWN)  # a picture from behind the script
        page.select_option("#sort", "z")
        page.fill("#reader", "AB")
        tiles.first.focus()
        page.keyboard.press("r")
        page.fill("#reason", "arms, in the mask")
        page.keyboard.press("Enter")  # closes
        page.wait_for_function("!document.getElementById('large').open")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("a")
        page.select_option("#decision", "reject")
        assert tiles.count() == 1 and "reject: arms, in the mask" in tiles.first.inner_text()
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "reading.csv")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390 and errors == []
        browser.close()
    saved = read_reading(tmp_path / "reading.csv").set_index("patient_id")
    assert saved.loc["P0005"].tolist() == ["reject", "arms, in the mask", "AB"]
    assert saved["verdict"].tolist().count("accept") == 1 and len(saved) == 2
