"""Who is analysed: the stages joined into one table of patients and one of exclusions."""

from __future__ import annotations

from analysis_lib.cohort import cohort
from analysis_lib.cohort.reference import OF_REFERENCE
from analysis_lib.core.project import Study
from analysis_lib.ct import indices
from analysis_lib.ct.flags import FLAGS
from analysis_lib.radiomics import RADIOMICS_STAGE

# What the images give to measured.parquet and patients.parquet.
IMAGE_COLUMNS = (
    *indices.MEASURES,
    *("smi", "pmi", "series_uid", "ct_series", "ct_notes", "slices_z_mm"),
    *indices.ATTENUATION,
    *("nama_index", "lama_index"),
    *FLAGS,
)


def assemble_patients(study: Study) -> None:
    """Join the stages into ``patients.parquet``, ``exclusions.parquet`` and ``left_out.parquet``."""
    params, measured, failures = study.params, study.measured(), study.features_exclusions()
    # Without a psoas mask, or with a CT of few slices, there is no risk score; the indices are as good as anyone's.
    indices_only = failures.loc[failures["stage"] == RADIOMICS_STAGE, "patient_id"].tolist()
    if not params.radiomics:
        indices_only = measured["patient_id"].tolist()
    z_columns = [name for name in measured if name.endswith(OF_REFERENCE)]
    clinical_columns = measured.columns.difference([*IMAGE_COLUMNS, *z_columns], sort=False)
    patients, left_out = cohort.assemble(
        measured[clinical_columns],
        measured[["patient_id", *IMAGE_COLUMNS, *z_columns]],
        [*study.featured(), *indices_only],
        params,
    )
    exclusions = cohort.exclusion_table(
        [study.measured_exclusions(), failures],
        measured.set_index("patient_id")["set"],
    )
    # Of whom nobody asks, it does not matter that there are no features.
    exclusions = exclusions[~exclusions["patient_id"].isin(left_out["patient_id"])].reset_index(drop=True)
    study.write_patients(patients, exclusions, left_out)
