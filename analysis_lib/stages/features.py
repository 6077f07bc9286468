"""Radiomics of every measured patient, extracted (resuming where a run stopped) or from the table that has them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pandas as pd

from analysis_lib.cohort.feature_table import read_features
from analysis_lib.cohort.sources import Source, located, sources
from analysis_lib.common.code import code_key
from analysis_lib.common.files import file_hash, remove_leftovers
from analysis_lib.common.hashes import FileHash, contents, known_hashes
from analysis_lib.common.keep import hash_of, keeping
from analysis_lib.common.pool import worker_count
from analysis_lib.core.project import Study
from analysis_lib.ct import indices
from analysis_lib.ct.geometry import ImageError, refusing_damage
from analysis_lib.ct.settings import ImageParams
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.radiomics.features import feature_table
from analysis_lib.stages import StageError
from analysis_lib.stages.measure import lost_patients


def extract_features(study: Study, quiet: bool = False) -> None:
    """Radiomics of every measured patient to ``features.parquet``, resuming where a run stopped."""
    params, patients = study.params, located(study)
    remove_leftovers(study.build)
    if not params.radiomics:
        patients = patients.head(0)
    table, failures = features_of(study, patients, quiet)
    # Whatever prevents the features, the indices of who was measured are as good as anyone's; there is no risk score.
    study.write_features_exclusions(failures.assign(stage=RADIOMICS_STAGE))
    if params.radiomics and table.empty:
        first = failures.iloc[0]
        raise StageError(
            f"no patient's features could be extracted; for example {first.patient_id}: {first.reason}. "
            f"'features: null' in params/{params.study}.yaml makes it a study of the indices, without a model"
        )
    stop, lost = lost_patients(patients, failures.set_index("patient_id")["reason"])
    if stop:
        raise StageError(f"features: {stop}")
    for text in lost:
        print(f"warning: features: {text}", file=sys.stderr)
    study.write_features(table)


def features_of(study: Study, patients: pd.DataFrame, quiet: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Radiomics of the patients of a table (index patient_id), and those that failed; cached ones are read."""
    params, found = study.params, sources(study, patients)
    if params.features.table:
        known = patients.reindex(columns=["patient_id", "set"])
        table, failures, notes = read_features(study.feature_file, params.clinical, known, params.cohort)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        return table, failures
    fingerprint = partial(image_fingerprint, found, params.images, code_key(indices.load_images))
    how = {
        "load": partial(load_images, found, params.images),
        "fingerprint": fingerprint,
        "parameter_files": study.parameter_files,
        # one for all studies of the same data, so that a what-if extracts nothing again
        "cache_dir": study.cache / "patients" / study.data.name,
        "memory_gb": params.images.memory_gb,
        "workers": params.workers,
        "quiet": quiet,
    }
    ids = sorted(found)
    with known_hashes(study.hashes) as hash_by, ThreadPoolExecutor(worker_count(params.workers)) as threads:
        try:
            with refusing_damage():
                hashed = threads.map(partial(fingerprint, hash_by=hash_by), ids)
                inputs = dict(zip(ids, hashed, strict=True))
        except ImageError:  # of somebody, who will be among the failures
            inputs = {}
    kept = keeping(whole_table, study.cache / "features", apart=("how",))
    files = {roi: path.read_bytes() for roi, path in study.parameter_files.items()}
    path = kept.path(inputs, files, params.features.expected_count, **how)
    tables = kept.known(path) if inputs else None
    if tables is None:
        tables = whole_table(dict.fromkeys(ids, ""), files, params.features.expected_count, **how)
        # another failure may be of the machine
        if inputs and tables[1]["stage"].eq(RADIOMICS_STAGE).all():
            kept.keep(tables, path)
    return tables


def whole_table(
    inputs: dict[str, str], files: dict[str, bytes], expected_count: int, **how: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``feature_table`` of the patients of ``inputs``, kept by what each one's images hash to.

    So a study on the same patients neither starts a worker nor reads a file a patient.
    """
    return feature_table(list(inputs), expected_count=expected_count, **how)


def load_images(found: dict[str, Source], images: ImageParams, patient_id: str):
    """CT and masks of one patient, ``(ct, {"sm": mask, "pm": mask})``, on one grid; ImageError with the reason."""
    source = found[patient_id]
    with refusing_damage():
        return indices.load_images(source.ct(), source.mask(), images, **source.where(), need_sm=False)


def image_fingerprint(
    found: dict[str, Source], images: ImageParams, code: str, patient_id: str, hash_by: FileHash = file_hash
) -> str:
    """Hash of what a patient's images depend on: the bytes of CT and mask, how both are chosen, ``code`` that reads."""
    source = found[patient_id]
    # What counts for the indices alone, or changes no result.
    apart: dict[str, Any] = {"sm": {"hu_window"}, "pm": {"hu_window"}}
    apart |= dict.fromkeys(("memory_gb", "nama", "lama", "body", "phase", "flags"), True)
    choice = [images.model_dump(mode="json", exclude=apart), *source.choice]
    return hash_of(code, choice, contents(source.files(), hash_by))
