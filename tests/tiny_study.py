"""A whole study in small, in a folder of its own: a copy of the library, a few patients of some kilobytes each.

The stages run as commands of that copy, as a user runs them, so that their exit status, terminal and files can be
looked at. One process runs several commands, since starting one costs more than the work on so few patients.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_seg, write_series

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (8, 40, 48)  # slices, rows, columns
L3 = 4
PARAMETERS = """base: defaults
title: Tiny study
workers: 2
images: {min_mask_pixels: 20}
"""
ONE_WORKER = PARAMETERS.replace("workers: 2", "workers: 1")  # where it is not of the workers: each starts for seconds
STAGES = ("prepare", "inputs", "measure", "assemble", "features", "exclusions")
RUN = """
import sys
from analysis_lib.ui.command_line import main
study, *commands = sys.argv[1:]
for command in commands:
    quiet = [] if command in ("record", "report", "package") else ["--quiet"]  # they show no progress
    if status := main([*command.split(), "--study", study, *quiet]):
        sys.exit(status)
"""


class TinyStudy:
    """One study of the copied project: its data, its runs, its outputs."""

    def __init__(self, project: Path, name: str, parameters: str = PARAMETERS) -> None:
        self.project, self.name = project, name
        self.data, self.build, self.figures = (project / top / name for top in ("data", "build", "figures"))
        (project / "params" / f"{name}.yaml").write_text(parameters)
        self.data.mkdir(parents=True)

    def add_patient(self, patient_id: str, **tags) -> Path:
        """CT and mask of one patient, drawn from its id; returns the CT folder. ``tags`` go into the DICOM headers."""
        rng = np.random.default_rng(list(patient_id.encode()))
        hounsfield = rng.integers(-900, -100, size=SHAPE).astype(np.int16)
        row, column = np.mgrid[: SHAPE[1], : SHAPE[2]]
        radius = np.hypot((row - 20) / 16, (column - 24) / 20)
        sm = np.zeros(SHAPE, bool)
        sm[L3] = (radius < 1) & (radius > 0.55)
        pm = sm & (row > 24) & (abs(column - 24) < 12)
        hounsfield[:, radius < 1] = rng.integers(-20, 100, size=(SHAPE[0], int((radius < 1).sum())))
        tags = {"SeriesInstanceUID": "1.2.840." + ".".join(str(b) for b in patient_id.encode())} | tags
        geometry = write_series(self.data / "ct" / patient_id, hounsfield, **tags)
        write_seg(self.data / "masks" / f"{patient_id}.seg.nrrd", {"SM": sm, "PM": pm}, geometry)
        return self.data / "ct" / patient_id

    def write_table(self, patient_ids: list[str], **columns) -> None:
        """The clinical table; values depend on each patient's id alone. ``columns`` adds or replaces columns."""
        seeds = [np.random.default_rng(list(name.encode())) for name in patient_ids]
        table = pd.DataFrame(
            {
                "patient_id": patient_ids,
                "set": ["discovery" if rng.random() < 0.6 else "external" for rng in seeds],
                "sex": ["M" if rng.random() < 0.5 else "F" for rng in seeds],
                "age": [int(rng.integers(40, 70)) for rng in seeds],
                "height_m": [round(rng.uniform(1.5, 1.9), 2) for rng in seeds],
                "bmi": [round(rng.uniform(19, 29), 1) for rng in seeds],
                "os_months": [round(rng.uniform(3, 80), 1) for rng in seeds],
                "os_event": [int(rng.random() < 0.5) for rng in seeds],
            }
        ).assign(**columns)
        table.to_csv(self.data / "patients.csv", index=False)

    def start(self, *commands: str, **options) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, self.name, *(commands or STAGES)],
            cwd=self.project,
            env={**os.environ, "PYTHONPATH": str(self.project)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *commands: str, **options) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of the commands, or of all stages."""
        process = self.start(*commands, **options)
        out, error = process.communicate(timeout=3600)
        return process.returncode, out, error

    def outputs(self) -> dict[str, bytes]:
        """Every file that the runs wrote, by its path, but the records of time and memory."""
        caches = sorted((self.project / "build" / "cache").glob(f"{self.name}-*"))
        found = {}
        for top in (self.build, self.figures, *caches):
            for path in sorted(top.rglob("*")):
                if path.is_file() and path.parent.name != "stages":
                    found[str(path.relative_to(self.project))] = path.read_bytes()
        return found

    def forget(self) -> None:
        """Remove what the runs wrote, and what is kept for all studies on the same patients."""
        for path in self.outputs():
            (self.project / path).unlink()
        for kept in ("measured", "features"):
            shutil.rmtree(self.project / "build" / "cache" / kept, ignore_errors=True)


@pytest.fixture(scope="session")
def project(tmp_path_factory, compiled) -> Path:
    """A copy of library, parameters and notebooks; compiled code goes with it."""
    root = tmp_path_factory.mktemp("project")
    for name in ("analysis_lib", "params", "notebooks"):
        shutil.copytree(ROOT / name, root / name)
    return root
