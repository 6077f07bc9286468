"""make check: one page and one table, refusals in words, nothing of the headers or of free text."""

import pandas as pd
import pytest

from analysis_lib.__main__ import main
from analysis_lib.check import check_study
from analysis_lib.params import ROOT, Params, load_params


@pytest.fixture
def study(patient, tmp_path, monkeypatch):
    """Two patients on disk, the second without a mask, the third refused by the table."""
    ct, mask, *_ = patient
    data = tmp_path / "data"
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
    monkeypatch.setattr(Params, "data_path", property(lambda self: data))
    monkeypatch.setattr(Params, "build_path", property(lambda self: tmp_path / "build"))
    return params


def test_page_and_table(study):
    found = check_study(study, quiet=True)
    table = pd.read_csv(study.build_path / "check" / "check.csv").set_index("patient_id")
    assert found.usable == 1
    assert table["status"].to_dict() == {"P3": "refused", "P2": "refused", "P1": "ok"}
    assert "looks like centimetres" in table.at["P3", "reason"]
    assert "mask" in table.at["P2", "reason"]
    assert table.at["P1", "slices"].startswith("3 (z = -85.0 mm)")
    assert table.at["P1", "segments"] == "SM 'SM' 640 pixels, PM 'PM' 84 pixels"
    page = (study.build_path / "check" / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "make study STUDY=mine" in page and 'src="http' not in page


def test_nobody_can_be_analysed(study):
    (study.data_path / "masks" / "P1.seg.nrrd").unlink()
    assert check_study(study, quiet=True).usable == 0
    assert "Nobody can be analysed" in (study.build_path / "check" / "check.html").read_text()


def test_exit_status_says_whether_anyone_can_be_analysed(study, monkeypatch, capsys):
    monkeypatch.setattr("analysis_lib.__main__.load_params", lambda name: study)
    monkeypatch.setattr("analysis_lib.check.page_path", lambda params: ROOT / "build" / "mine" / "check.html")
    assert main(["check", "--study", "mine", "--quiet"]) == 0
    assert capsys.readouterr().out.endswith("then: make study STUDY=mine\n")
    (study.data_path / "masks" / "P1.seg.nrrd").unlink()
    assert main(["check", "--study", "mine", "--quiet"]) == 2
    assert "0 of 3 patients can be analysed" in capsys.readouterr().out
