"""Who is analysed, which the indices say, and who is excluded, which the features say too."""

from __future__ import annotations

from analysis_lib.cohort import cohort
from analysis_lib.cohort.reference import OF_REFERENCE
from analysis_lib.core.project import Study
from analysis_lib.ct import indices
from analysis_lib.ct.flags import FLAGS

# What the images give to measured.parquet and patients.parquet.
IMAGE_COLUMNS = (
    *indices.MEASURES,
    *("smi", "pmi", "series_uid", "ct_series", "ct_notes", "slices_z_mm"),
    *indices.ATTENUATION,
    *("nama_index", "lama_index"),
    *FLAGS,
)


def assemble_patients(study: Study) -> None:
    """The measured patients of whom the study asks to ``patients.parquet``, and the others to ``left_out.parquet``.

    It waits for no feature, so that tables of indices are there while features are extracted.
    """
    params, measured = study.params, study.measured()
    z_columns = [name for name in measured if name.endswith(OF_REFERENCE)]
    clinical_columns = measured.columns.difference([*IMAGE_COLUMNS, *z_columns], sort=False)
    patients, left_out = cohort.assemble(
        measured[clinical_columns],
        measured[["patient_id", *IMAGE_COLUMNS, *z_columns]],
        params,
    )
    study.write_patients(patients, left_out)


def list_exclusions(study: Study) -> None:
    """Who could not be measured and who has no features, to ``exclusions.parquet``."""
    sets = study.measured(["patient_id", "set"]).set_index("patient_id")["set"]
    exclusions = cohort.exclusion_table([study.measured_exclusions(), study.features_exclusions()], sets)
    # Of whom nobody asks, it does not matter that there are no features.
    left_out = study.left_out()["patient_id"]
    study.write_exclusions(exclusions[~exclusions["patient_id"].isin(left_out)].reset_index(drop=True))
