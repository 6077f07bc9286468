"""Who is analysed: the stages joined into one table of patients and one of exclusions."""

from __future__ import annotations

import pandas as pd

from analysis_lib.cohort import cohort
from analysis_lib.common.files import write_parquet, write_text
from analysis_lib.core.parameters import Params
from analysis_lib.ct import indices
from analysis_lib.radiomics import RADIOMICS_STAGE

# What the images give to measured.parquet and patients.parquet.
IMAGE_COLUMNS = (*indices.MEASURES, "smi", "pmi", "series_uid", "ct_series", "ct_notes", "slices_z_mm")


def assemble_patients(params: Params) -> None:
    """Join the stages into ``patients.parquet`` and ``exclusions.parquet``."""
    build = params.build_path
    measured = pd.read_parquet(build / "measured.parquet")
    with_features = pd.read_parquet(build / "features.parquet", columns=[]).index.tolist()
    failures = pd.read_parquet(build / "features_exclusions.parquet")
    # Without a psoas mask, or with a CT of few slices, there is no risk score; the indices are as good as anyone's.
    indices_only = failures.loc[failures["stage"] == RADIOMICS_STAGE, "patient_id"].tolist()
    if not params.radiomics:
        indices_only = measured["patient_id"].tolist()
    clinical_columns = measured.columns.difference(IMAGE_COLUMNS, sort=False)
    patients = cohort.assemble(
        measured[clinical_columns],
        measured[["patient_id", *IMAGE_COLUMNS]],
        [*with_features, *indices_only],
        params.cohort,
        params.seed,
    )
    exclusions = cohort.exclusion_table(
        [pd.read_parquet(build / "measured_exclusions.parquet"), failures],
        measured.set_index("patient_id")["set"],
    )
    write_parquet(exclusions, build / "exclusions.parquet")
    write_parquet(patients, build / "patients.parquet")
    write_text(build / "patients.csv", patients.to_csv(index=False, lineterminator="\n"))
