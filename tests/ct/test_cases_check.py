"""make check on a folder with the faults of images, a patient each: all have a line, and a picture if they can."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import write_seg
from test_cases_files import stray_byte
from test_cases_values import DOUBTFUL, GRID, HU, NORMAL, PM, SM

from analysis_lib.core.parameters import Params, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.review.check import check_study


def on_other(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The mask with ``part`` of its slice on the next one instead."""
    moved = mask & ~part
    moved[4] = (mask & part)[3]
    return moved


def stray(mask: np.ndarray) -> np.ndarray:
    found = mask.copy()
    found[4, 20, 20] = True
    return found


def in_metres(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[123] = 1
    path.write_bytes(content)


LEFT, AIR = np.arange(50) < 25, HU.copy()
AIR.flat[np.flatnonzero(PM)[:30]] = -1000
# HU, SM, PM, what is done to the CT's file; what the line says, and whether there is something to show.
FAULTS = {
    "good": (HU, SM, PM, None, "", True),
    "window": (DOUBTFUL["8 bits of a window"], SM, PM, None, "are these HU", True),
    "stored": (HU + 1024, SM, PM, None, "are these HU", True),
    "normalised": (NORMAL["z-scores"], SM, PM, None, "are no HU", True),
    "stray": (HU, stray(SM), PM, None, "far fewer pixels on slice 4", True),
    "halves": (HU, SM, on_other(PM, LEFT), None, "have no part in common", True),
    "air": (AIR, SM, PM, None, "of the PM is air or gas", True),
    "metres": (HU, SM, PM, in_metres, "its lengths are in metres", False),
    "long": (HU, SM, PM, lambda path: stray_byte(path, False), "more bytes than its header says", False),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> tuple[pd.DataFrame, str]:
    """Table and page of make check."""
    root = tmp_path_factory.mktemp("check")
    data = root / "data" / "mine"
    for folder in ("ct", "masks"):
        (data / folder).mkdir(parents=True)
    for name, (hu, sm, pm, change, *_) in FAULTS.items():
        sitk.WriteImage(GRID.image_of(hu.astype(np.float32)), str(data / "ct" / f"{name}.nii"))
        write_seg(data / "masks" / f"{name}.seg.nrrd", {"SM": sm, "PM": pm}, GRID)
        if change:
            change(data / "ct" / f"{name}.nii")
    rows = pd.DataFrame(
        {"patient_id": list(FAULTS), "set": "kiel", "sex": "M", "height_m": 1.7, "os_event": [0, 1, 1] * 3}
    )
    rows.assign(os_months=np.arange(9) + 20.5).to_csv(data / "patients.csv", index=False)
    shutil.copytree(Project().params_dir, root / "params")
    sets = {"kiel": {"label": "Kiel", "role": "train"}}
    content = load_params("defaults").model_dump() | {"study": "mine", "workers": 1, "cohort": {"sets": sets}}
    study = Study(Params.model_validate(content), Project(root))
    check_study(study, quiet=True)
    table = pd.read_csv(study.build / "check" / "check.csv").fillna("").set_index("patient_id")
    return table, (study.build / "check" / "check.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_line_and_its_picture(checked, name):
    table, page = checked
    *_, said, shown = FAULTS[name]
    line = " ".join(map(str, table.loc[name]))
    assert said in line and (table.at[name, "status"] == "ok") == (name == "good")
    tile = re.search(rf'<[^>]*src="data:image/jpeg;base64,[^"]+"[^>]*alt="[^"]*{name}\b', page)
    assert (tile is not None) == shown
    assert page.count("data:image/jpeg;base64,") == sum(shown for *_, shown in FAULTS.values())
