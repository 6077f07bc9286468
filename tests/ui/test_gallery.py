"""The pictures of docs/gallery come from a study's own files, and never from real patients."""

from dataclasses import replace

import pandas as pd
import pytest
from finished import toy_params
from PIL import Image
from tiny_study import TinyStudy

from analysis_lib.core.parameters import ParameterError
from analysis_lib.core.project import Project, Study
from analysis_lib.figures import style
from analysis_lib.stages.measure import measure_patients
from analysis_lib.ui import gallery


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Five measured patients and one figure."""
    (tmp_path / "params").mkdir()
    tiny, ids = TinyStudy(tmp_path, "tiny"), [f"G{k}" for k in range(5)]
    for patient_id in ids:
        tiny.add_patient(patient_id)
    tiny.write_table(ids)
    images = toy_params().images.model_copy(update={"min_mask_pixels": 20})
    study = Study(toy_params("tiny", images=images, workers=1), Project(tmp_path))
    measure_patients(study, quiet=True)
    pd.read_parquet(tiny.build / "measured.parquet").to_parquet(tiny.build / "patients.parquet")
    style.save_figure(style.new_figure(90, 45), tiny.figures, "fig1", pd.DataFrame({"x": [1]}), True)
    monkeypatch.setattr(gallery, "FIGURES", ("fig1",))
    return study


def test_four_patients_and_small_copies_of_the_figures(study, tmp_path):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "old.png").write_bytes(b"")
    written = gallery.make_gallery(study, tmp_path / "gallery")
    assert sorted(p.name for p in (tmp_path / "gallery").iterdir()) == ["fig1.png", "patients.png"]
    sizes = []
    for path in written:
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes[0][0] > 1000 and sizes[1] == (900, 500)


def test_real_patients_have_no_gallery(study, tmp_path):
    real = replace(study, params=study.params.model_copy(update={"standin": None}))
    with pytest.raises(ParameterError, match="holds real patients"):
        gallery.make_gallery(real, tmp_path / "gallery")
