"""The pictures of docs/gallery come from a study's own files, and never from real patients."""

from dataclasses import replace

import pandas as pd
import pytest
from finished import toy_params, toy_study
from PIL import Image
from tiny_study import TinyStudy

from analysis_lib.core.parameters import ParameterError
from analysis_lib.core.project import Project
from analysis_lib.figures import style
from analysis_lib.review import record, verify
from analysis_lib.review.expectation import read_expectation
from analysis_lib.stages.measure import measure_patients
from analysis_lib.ui import gallery

GALLERY = Project().root / "docs" / "gallery"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Five measured patients and one figure."""
    (tmp_path / "params").mkdir()
    tiny, ids = TinyStudy(tmp_path, "tiny"), [f"G{k}" for k in range(5)]
    for patient_id in ids:
        tiny.add_patient(patient_id)
    tiny.write_table(ids)
    images = toy_params().images.model_copy(update={"min_mask_pixels": 20})
    study = toy_study(tmp_path, "tiny", images=images, workers=1)
    measure_patients(study, quiet=True)
    pd.read_parquet(tiny.build / "measured.parquet").assign(event=0).to_parquet(tiny.build / "patients.parquet")
    style.save_figure(style.new_figure(90, 45), tiny.figures, "fig1", pd.DataFrame({"n": [1]}), True)
    monkeypatch.setattr(gallery, "FIGURES", ("fig1",))
    record.write_run(study)
    verify.write_expectation(study)
    return study


def test_four_patients_and_small_copies_of_the_figures(study, tmp_path):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "old.png").write_bytes(b"")
    written = gallery.make_gallery(study, tmp_path / "gallery")
    assert sorted(p.name for p in (tmp_path / "gallery").iterdir()) == ["README.md", "fig1.png", "patients.png"]
    sizes = []
    for path in written:
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes[0][0] > 1000 and sizes[1] == (900, 525)


def test_the_page_names_the_expectation_once(study, tmp_path):
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / "README.md").write_text("# Gallery\n\n" + gallery.run_line("tiny", {"hashes": {"fig1.png": "0"}}))
    gallery.make_gallery(study, folder)
    line = gallery.run_line("tiny", read_expectation(study.project.expected / "tiny"))
    assert (folder / "README.md").read_text() == "# Gallery\n\n" + line


def test_a_run_that_is_not_the_expectation_has_no_gallery(study, tmp_path):
    style.save_figure(style.new_figure(90, 45), study.figures, "fig1", pd.DataFrame({"n": [2]}), True)
    record.write_run(study)
    with pytest.raises(ParameterError, match="not the committed expectation"):
        gallery.make_gallery(study, tmp_path / "gallery")


def test_the_committed_gallery_is_the_committed_expectation():
    page = (GALLERY / "README.md").read_text(encoding="utf-8")
    line = gallery.run_line("standin", read_expectation(Project().expected / "standin"))
    assert page.endswith(line), "make study && make gallery, after make expect"
    assert {p.stem for p in GALLERY.glob("*.png")} == {"patients", *gallery.FIGURES}


def test_real_patients_have_no_gallery(study, tmp_path):
    real = replace(study, params=study.params.model_copy(update={"standin": None}))
    with pytest.raises(ParameterError, match="holds real patients"):
        gallery.make_gallery(real, tmp_path / "gallery")
