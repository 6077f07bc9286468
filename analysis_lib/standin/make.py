"""Write the stand-in cohort to disk, resumable and the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from analysis_lib.common.files import remove_leftovers, write_text
from analysis_lib.common.pool import map_patients
from analysis_lib.core.parameters import Params, load_params
from analysis_lib.standin.anatomy import draw_patient
from analysis_lib.standin.dicom import write_ct_series
from analysis_lib.standin.patients import (
    calibrated,
    clinical_table,
    data_dictionary,
    draw_patients,
    patient_specs,
    truth_table,
)
from analysis_lib.standin.segmentation import write_seg_nrrd
from analysis_lib.standin.spec import PatientSpec

DRAWING = "1"  # raise when the drawing changes, so that images on disk are drawn anew


def make_cohort(params: Params, quiet: bool = False) -> None:
    """Write CT, masks, patients.csv, data_dictionary.csv and truth.csv of the study's synthetic cohort.

    A patient whose images are there already, drawn from the same specification, is not drawn again. The
    clinical table is written last, so that an interrupted run never looks complete.
    """
    # The published cut-offs, not the study's own: a what-if on a definition must not change the patients.
    definitions = calibrated(params.standin, load_params("defaults").definitions)
    frame = draw_patients(params.standin, definitions, params.seed)
    for folder in ("", "ct", "masks", ".drawn"):
        remove_leftovers(params.data_path / folder)
    jobs = [(spec, params.data_path) for spec in patient_specs(frame, params.standin)]
    map_patients(_write_patient, jobs, workers=params.workers, label="synthetic CT", quiet=quiet)
    for name, table in (
        ("data_dictionary.csv", data_dictionary()),
        ("truth.csv", truth_table(frame)),
        ("patients.csv", clinical_table(frame)),
    ):
        write_text(params.data_path / name, table.to_csv(index=False, lineterminator="\n"))


def _write_patient(spec: PatientSpec, folder: Path) -> None:
    stamp = folder / ".drawn" / spec.patient_id
    key = hashlib.blake2b((json.dumps(asdict(spec), sort_keys=True) + DRAWING).encode(), digest_size=16).hexdigest()
    ct, mask = folder / "ct" / spec.patient_id, folder / "masks" / f"{spec.patient_id}.seg.nrrd"
    if stamp.is_file() and stamp.read_text() == key and ct.is_dir() and mask.is_file():
        return
    drawn = draw_patient(spec)
    write_ct_series(ct, drawn, spec)
    write_seg_nrrd(mask, drawn, spec)
    write_text(stamp, key)
