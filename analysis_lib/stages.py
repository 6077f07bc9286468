"""The heavy stages, from files on disk to the tables that the notebooks read.

Each reads parameters and the outputs of earlier stages and writes to ``build/<study>``. A patient who cannot
be used goes to the exclusions with the reason; the rest go on.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import pandas as pd

from analysis_lib.cohort import cohort
from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS, read_clinical
from analysis_lib.errors import StudyError
from analysis_lib.extraction.features import feature_table
from analysis_lib.files import replacing, write_text
from analysis_lib.imaging import indices
from analysis_lib.imaging.geometry import ImageError
from analysis_lib.parallel import map_patients
from analysis_lib.params import PARAMS_DIR, ROOT, ImageParams, Params


class StageError(StudyError, RuntimeError):
    """A stage ends with nothing to go on with; the message says why."""


def ct_path(params: Params, patient_id: str) -> Path:
    return params.data_path / "ct" / patient_id


def mask_path(params: Params, patient_id: str) -> Path:
    return params.data_path / "masks" / f"{patient_id}.seg.nrrd"


def measure_patients(params: Params, quiet: bool = False) -> None:
    """Clinical table and images to ``measured.parquet`` (one row a usable patient) and its exclusions."""
    clinical, excluded = read_clinical(params.data_path / "patients.csv", list(params.cohort.sets))
    # A row refused for its values still had a set, which the flowchart counts by.
    jobs = [(ct_path(params, name), mask_path(params, name), params.images, name) for name in clinical["patient_id"]]
    results = map_patients(_measure_one, jobs, workers=params.workers, label="indices", quiet=quiet)
    rows = [r for r in results if "reason" not in r]
    failures = pd.DataFrame([r for r in results if "reason" in r], columns=EXCLUSION_COLUMNS)
    exclusions = cohort.exclusion_table([excluded, failures], clinical.set_index("patient_id")["set"])
    _write_parquet(exclusions, params.build_path / "measured_exclusions.parquet")
    if not rows:
        first = exclusions.iloc[0]
        raise StageError(f"no patient can be analysed; for example {first.patient_id}: {first.reason}")
    measured = pd.DataFrame(rows)
    table = indices.add_height_indices(clinical.merge(measured, on="patient_id", validate="one_to_one"))
    _write_parquet(table, params.build_path / "measured.parquet")


def _measure_one(ct: Path, mask: Path, images: ImageParams, patient_id: str) -> dict[str, object]:
    try:
        row = indices.measure(ct, mask, images)
    except ImageError as error:
        return {"patient_id": patient_id, "stage": "images", "reason": str(error)}
    return {
        "patient_id": patient_id,
        **{name: row[name] for name in indices.MEASURES},
        "series_uid": row["series_uid"],
        "slices_z_mm": json.dumps(row["slices_z_mm"]),
    }


def extract_features(params: Params, quiet: bool = False) -> None:
    """Radiomics of every measured patient to ``features.parquet``, resuming where a run stopped."""
    measured = pd.read_parquet(params.build_path / "measured.parquet", columns=["patient_id"])
    table, failures = feature_table(
        measured["patient_id"].tolist(),
        load=partial(_load_one, params),
        fingerprint=partial(_fingerprint, params),
        parameter_files={roi: PARAMS_DIR / entry.parameter_file for roi, entry in params.features.rois.items()},
        expected_count=params.features.expected_count,
        cache_dir=_feature_cache(params),
        workers=params.workers,
        quiet=quiet,
    )
    _write_parquet(failures, params.build_path / "features_exclusions.parquet")
    if table.empty:
        raise StageError("no patient's features could be extracted; see features_exclusions.parquet")
    with replacing(params.build_path / "features.parquet") as temporary:
        table.to_parquet(temporary)


def _feature_cache(params: Params) -> Path:
    """One folder for all studies of the same data and feature parameters, so that a what-if extracts nothing again."""
    digest = hashlib.blake2b(digest_size=6)
    for roi, entry in sorted(params.features.rois.items()):
        digest.update(roi.encode() + (PARAMS_DIR / entry.parameter_file).read_bytes())
    return ROOT / "build" / "cache" / f"{params.data_path.name}-{digest.hexdigest()}"


def _load_one(params: Params, patient_id: str):
    return indices.load_images(ct_path(params, patient_id), mask_path(params, patient_id), params.images)


def _fingerprint(params: Params, patient_id: str) -> str:
    """Hash of everything a patient's images depend on: the bytes of CT and mask, and how segments are named."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([params.images.sm.names, params.images.pm.names]).encode())
    folder = ct_path(params, patient_id)
    for path in [*sorted(p for p in folder.rglob("*") if p.is_file()), mask_path(params, patient_id)]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def assemble_patients(params: Params) -> None:
    """Join the stages into ``patients.parquet`` and ``exclusions.parquet``."""
    build = params.build_path
    measured = pd.read_parquet(build / "measured.parquet")
    with_features = pd.read_parquet(build / "features.parquet", columns=[]).index.tolist()
    failures = pd.read_parquet(build / "features_exclusions.parquet")
    clinical_columns = measured.columns.difference(
        [*indices.MEASURES, "smi", "pmi", "series_uid", "slices_z_mm"], sort=False
    )
    measured_columns = ["patient_id", *indices.MEASURES, "smi", "pmi", "series_uid", "slices_z_mm"]
    patients = cohort.assemble(
        measured[clinical_columns], measured[measured_columns], with_features, params.cohort, params.seed
    )
    exclusions = cohort.exclusion_table(
        [pd.read_parquet(build / "measured_exclusions.parquet"), failures],
        measured.set_index("patient_id")["set"],
    )
    _write_parquet(exclusions, build / "exclusions.parquet")
    _write_parquet(patients, build / "patients.parquet")
    write_text(build / "patients.csv", patients.to_csv(index=False, lineterminator="\n"))


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
