"""Write the stand-in cohort to disk, resumable and the same for any number of workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from analysis_lib.common.code import code_key
from analysis_lib.common.files import remove_leftovers, write_text, write_text_if_changed
from analysis_lib.common.keep import hash_of
from analysis_lib.common.pool import map_patients
from analysis_lib.common.sarcopenia import Definition
from analysis_lib.standin.anatomy import draw_patient
from analysis_lib.standin.dicom import write_ct_series
from analysis_lib.standin.faults import chosen_faults, spoilt
from analysis_lib.standin.patients import (
    calibrated,
    clinical_table,
    data_dictionary,
    draw_patients,
    patient_specs,
    truth_table,
)
from analysis_lib.standin.segmentation import write_seg_nrrd
from analysis_lib.standin.settings import StandinParams
from analysis_lib.standin.spec import PatientSpec


def make_cohort(
    standin: StandinParams,
    definitions: Mapping[str, Definition],
    seed: int,
    folder: Path,
    workers: int = 0,
    quiet: bool = False,
) -> None:
    """Write CT, masks, patients.csv, data_dictionary.csv and truth.csv of a synthetic cohort to ``folder``.

    ``definitions`` are the published ones: of those that the sets count, the numbers of sarcopenic patients are met.

    A patient whose images are there already, drawn from the same specification by the same code, is not drawn
    again, and a table that stays as it is keeps its time. The clinical table is written last, so that an interrupted
    run never looks complete.
    """
    frame = draw_patients(standin, calibrated(standin, definitions), seed)
    for place in ("", "ct", "masks", ".drawn"):
        remove_leftovers(folder / place)
    code = code_key(draw_patient, write_ct_series, write_seg_nrrd)
    faults = chosen_faults(frame["patient_id"].tolist(), standin.faults, seed)
    truth = truth_table(frame)
    if faults:
        truth["fault"] = truth["patient_id"].map(faults).fillna("")
    jobs = [(spec, folder, code, faults.get(spec.patient_id, "")) for spec in patient_specs(frame, standin)]
    map_patients(_write_patient, jobs, workers=workers, label="synthetic CT", quiet=quiet)
    for name, table in (
        ("data_dictionary.csv", data_dictionary()),
        ("truth.csv", truth),
        ("patients.csv", clinical_table(frame)),
    ):
        write_text_if_changed(folder / name, table.to_csv(index=False, lineterminator="\n"))


def _write_patient(spec: PatientSpec, folder: Path, code: str, fault: str = "") -> None:
    if fault:
        code = hash_of(code, fault, code_key(spoilt))
    stamp = folder / ".drawn" / spec.patient_id
    ct, mask = folder / "ct" / spec.patient_id, folder / "masks" / f"{spec.patient_id}.seg.nrrd"
    if stamp.is_file() and stamp.read_text() == _key(spec, code, ct, mask):
        return
    drawn = spoilt(draw_patient(spec), fault, spec) if fault else draw_patient(spec)
    write_ct_series(ct, drawn, spec)
    write_seg_nrrd(mask, drawn, spec)
    write_text(stamp, _key(spec, code, ct, mask))


def _key(spec: PatientSpec, code: str, ct: Path, mask: Path) -> str:
    """What a patient was drawn from, and the bytes that came of it: a loss of power may leave files empty."""
    files = [*sorted(ct.glob("*.dcm")), *([mask] if mask.is_file() else [])]
    return hash_of(spec, code, [file.stat().st_size for file in files])
