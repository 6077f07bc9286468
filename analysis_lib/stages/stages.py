"""The heavy stages, from files on disk to the tables that the notebooks read.

Each reads parameters and the outputs of earlier stages and writes to ``build/<study>``. A patient who cannot
be used goes to the exclusions with the reason; the rest go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis_lib.cohort import RADIOMICS_STAGE, cohort
from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS, read_clinical
from analysis_lib.cohort.sarcopenia import add_height_indices
from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import remove_leftovers, replacing, write_text
from analysis_lib.common.pool import map_patients
from analysis_lib.core.parameters import PARAMS_DIR, ROOT, ImageParams, Params
from analysis_lib.core.study import Study
from analysis_lib.coxnet.fitting import strata_of
from analysis_lib.ct import indices, masks
from analysis_lib.ct.ct import find_ct
from analysis_lib.ct.data_paths import files_of, inside
from analysis_lib.ct.geometry import ImageError, refusing_damage
from analysis_lib.ct.label_table import find_label_table
from analysis_lib.radiomics.features import feature_table
from analysis_lib.stages import variants as stability
from analysis_lib.survival.agreement import icc_table


class StageError(StudyError, RuntimeError):
    """A stage ends with nothing to go on with; the message says why."""


# What the images give to measured.parquet and patients.parquet.
IMAGE_COLUMNS = (*indices.MEASURES, "smi", "pmi", "series_uid", "ct_series", "ct_notes", "slices_z_mm")


# Where images lie may hold a name, so it goes no further than the clinical table.
LOCATIONS = ["ct_path", "mask_path", "series_uid", "l3_z_mm", "l3_sop_instance_uid"]


@dataclass(frozen=True)
class Source:
    """Where a patient's images are said to be; the paths are checked when they are used."""

    data: Path
    patient_id: str
    ct_path: str = ""  # relative to the data folder
    mask_path: str = ""  # likewise
    series_uid: str = ""
    l3_z_mm: float | None = None
    l3_sop_uid: str = ""
    label_table: str = ""  # relative to the data folder

    def ct(self) -> Path:
        """Folder or file of the CT; ImageError where the table's path leads outside the data folder, or for two CTs."""
        if self.ct_path:
            return inside(self.data, self.ct_path, "ct_path")
        return find_ct(self.data / "ct", self.patient_id)

    def mask(self) -> Path:
        """File or folder of the mask; ImageError where there is none, or more than one."""
        if self.mask_path:
            return inside(self.data, self.mask_path, "mask_path")
        return masks.find_mask(self.data / "masks", self.patient_id)

    def where(self) -> dict[str, object]:
        """What ``open_patient`` must know beside the paths."""
        table = inside(self.data, self.label_table, "images.label_table") if self.label_table else None
        return {
            "series_uid": self.series_uid,
            "label_table": table,
            "l3_z_mm": self.l3_z_mm,
            "l3_sop_uid": self.l3_sop_uid,
        }


def sources(params: Params, clinical: pd.DataFrame) -> dict[str, Source]:
    """Source of each patient of the clinical table by patient_id."""
    table = clinical.reindex(columns=["patient_id", *LOCATIONS]).astype({"patient_id": str})
    texts = table.drop(columns="l3_z_mm").fillna("").astype(str)
    heights = pd.to_numeric(table["l3_z_mm"], errors="coerce")
    return {
        row.patient_id: Source(
            params.data_path,
            row.patient_id,
            row.ct_path,
            row.mask_path,
            row.series_uid,
            None if pd.isna(z_mm) else float(z_mm),
            row.l3_sop_instance_uid,
            params.images.label_table or "",
        )
        for row, z_mm in zip(texts.itertuples(index=False), heights, strict=True)
    }


def measure_patients(params: Params, quiet: bool = False) -> None:
    """Clinical table and images to ``measured.parquet`` (one row a usable patient) and its exclusions."""
    remove_leftovers(params.build_path)
    clinical, excluded = read_clinical(params.clinical_path, list(params.cohort.sets), params.clinical)
    # A row refused for its values still had a set, which the flowchart counts by.
    measured, failures = measured_rows(params, clinical, quiet)
    clinical = clinical.drop(columns=LOCATIONS, errors="ignore")
    exclusions = cohort.exclusion_table([excluded, failures], clinical.set_index("patient_id")["set"])
    _write_parquet(exclusions, params.build_path / "measured_exclusions.parquet")
    if measured.empty:
        first = exclusions.iloc[0]
        raise StageError(f"no patient can be analysed; for example {first.patient_id}: {first.reason}")
    measured = measured.drop(columns="identity_in_headers")
    table = add_height_indices(clinical.merge(measured, on="patient_id", validate="one_to_one"))
    _write_parquet(table, params.build_path / "measured.parquet")


def measured_rows(params: Params, clinical: pd.DataFrame, quiet: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Areas and densities of the patients of a clinical table, and those whose images cannot be used."""
    jobs = [(source, params.images) for source in sources(params, clinical).values()]
    results = map_patients(_measure_one, jobs, workers=params.workers, label="indices", quiet=quiet, died=_killed)
    failures = pd.DataFrame([r for r in results if "reason" in r], columns=EXCLUSION_COLUMNS)
    rows = [r for r in results if "reason" not in r]
    measured = pd.DataFrame(rows, columns=None if rows else ["patient_id", "series_uid"])
    if rows:
        _report(measured, quiet)
    return measured, failures


def _report(measured: pd.DataFrame, quiet: bool) -> None:
    """What the user should know of the images, one line each, without a name."""
    named, noted = int(measured["identity_in_headers"].sum()), int((measured["ct_notes"] != "").sum())
    if named:
        print(
            f"warning: the DICOM headers of {named} of {len(measured)} measured patients carry identity (names, birth "
            "dates, numbers or institutions); no output shows it, but de-identify the files before passing them on",
            file=sys.stderr,
        )
    uids = measured["series_uid"]
    if shared := int((uids.duplicated(keep=False) & (uids != "")).sum()):
        print(
            f"warning: {shared} patients share their CT series with another (one patient twice, or a CT in the wrong "
            "place?); make check names them",
            file=sys.stderr,
        )
    if noted and not quiet:
        print(f"the CT of {noted} patients has notes: column ct_notes of measured.parquet", file=sys.stderr)


def _measure_one(source: Source, images: ImageParams) -> dict[str, object]:
    try:
        with refusing_damage():
            row = indices.measure(source.ct(), source.mask(), images, **source.where())
    except ImageError as error:
        return {"patient_id": source.patient_id, "stage": "images", "reason": str(error)}
    return {
        "patient_id": source.patient_id,
        **{name: row[name] for name in ("ct_series", "ct_notes", "identity_in_headers")},
        **{name: row[name] for name in indices.MEASURES},
        "series_uid": row["series_uid"],
        "slices_z_mm": json.dumps(row["slices_z_mm"]),
    }


CRASHED = (
    "reading CT and mask ended the process (out of memory, or a file that crashes its decoder); export the series "
    "again, and the segmentation"
)


def _killed(source: Source, images: ImageParams) -> dict[str, object]:
    return {"patient_id": source.patient_id, "stage": "images", "reason": CRASHED}


def extract_features(params: Params, quiet: bool = False) -> None:
    """Radiomics of every measured patient to ``features.parquet``, resuming where a run stopped."""
    remove_leftovers(params.build_path)
    patients = located(params)
    if not params.radiomics:
        patients = patients.head(0)
    table, failures = features_of(params, patients, quiet)
    _write_parquet(failures, params.build_path / "features_exclusions.parquet")
    if params.radiomics and table.empty:
        first = failures.iloc[0]
        raise StageError(
            f"no patient's features could be extracted; for example {first.patient_id}: {first.reason}. "
            f"'features: null' in params/{params.study}.yaml makes it a study of the indices, without a model"
        )
    with replacing(params.build_path / "features.parquet") as temporary:
        table.to_parquet(temporary)


def located(params: Params) -> pd.DataFrame:
    """The measured patients with where their images lie; the series that was measured is the one that counts."""
    measured = pd.read_parquet(params.build_path / "measured.parquet", columns=["patient_id", "series_uid"])
    clinical, _ = read_clinical(params.clinical_path, list(params.cohort.sets), params.clinical)
    return clinical.drop(columns="series_uid", errors="ignore").merge(measured, on="patient_id")


def features_of(params: Params, patients: pd.DataFrame, quiet: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Radiomics of the patients of a table (index patient_id), and those that failed; cached ones are read."""
    found = sources(params, patients)
    return feature_table(
        patients["patient_id"].tolist(),
        load=partial(_load_one, found, params.images),
        fingerprint=partial(_fingerprint, found, params.images),
        parameter_files={roi: PARAMS_DIR / entry.parameter_file for roi, entry in params.features.rois.items()},
        expected_count=params.features.expected_count,
        cache_dir=_feature_cache(params),
        workers=params.workers,
        quiet=quiet,
    )


def _feature_cache(params: Params) -> Path:
    """One folder for all studies of the same data and feature parameters, so that a what-if extracts nothing again."""
    digest = hashlib.blake2b(digest_size=6)
    for roi, entry in sorted(params.features.rois.items()):
        digest.update(roi.encode() + (PARAMS_DIR / entry.parameter_file).read_bytes())
    return params.cache_path / f"{params.data_path.name}-{digest.hexdigest()}"


def _load_one(found: dict[str, Source], images: ImageParams, patient_id: str):
    source = found[patient_id]
    with refusing_damage():
        return indices.load_images(source.ct(), source.mask(), images, **source.where())


def _fingerprint(found: dict[str, Source], images: ImageParams, patient_id: str) -> str:
    """Hash of everything a patient's images depend on: the bytes of CT and mask, and how both are chosen."""
    source = found[patient_id]
    digest = hashlib.blake2b(digest_size=16)
    windows = {"sm": {"hu_window"}, "pm": {"hu_window"}}  # of the indices alone
    choice = [images.model_dump(mode="json", exclude=windows), source.series_uid, source.l3_z_mm, source.l3_sop_uid]
    digest.update(json.dumps(choice, sort_keys=True).encode())
    mask = source.mask()
    table = source.where()["label_table"] or find_label_table(mask)
    folders = [source.ct(), mask] + ([table] if table else [])
    for path in [file for place in folders for file in files_of(place)]:
        digest.update(os.fsencode(path.name))  # which need not be UTF-8
        digest.update(path.read_bytes())
    return digest.hexdigest()


def analyse_stability(params: Params, quiet: bool = False) -> None:
    """Features of disturbed images of some training patients, and their ICC, to ``stability.parquet``.

    Variants that fail are in ``stability_exclusions.parquet``.
    """
    patients = pd.read_parquet(params.build_path / "patients.parquet", columns=["patient_id", "split"])
    train = patients.loc[patients["split"] == "train", "patient_id"].tolist()
    found = sources(params, located(params))
    chosen = stability.draw(train, params.stability.patients, params.seed)
    values, failures = stability.extract_variants(
        chosen,
        load=partial(_load_one, found, params.images),
        fingerprint=partial(_fingerprint, found, params.images),
        parameter_files={roi: PARAMS_DIR / entry.parameter_file for roi, entry in params.features.rois.items()},
        settings=params.stability,
        seed=params.seed,
        folder=params.build_path / "stability",
        workers=params.workers,
        quiet=quiet,
    )
    _write_parquet(failures, params.build_path / "stability_exclusions.parquet")
    table = icc_table(values, stability.families(params.stability), params.statistics.confidence)
    if table["patients"].min() < 3:
        raise StageError(
            "too few patients with all variants for an ICC; see stability_exclusions.parquet, raise stability.patients"
        )
    _write_parquet(table, params.build_path / "stability.parquet")


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
    _write_parquet(exclusions, build / "exclusions.parquet")
    _write_parquet(patients, build / "patients.parquet")
    write_text(build / "patients.csv", patients.to_csv(index=False, lineterminator="\n"))


def resample_pipeline(params: Params, quiet: bool = False) -> None:
    """Fit the whole pipeline to other splits and bootstrap samples, to ``optimism.csv``."""
    from analysis_lib.stages.optimism import resample

    study = Study(params)
    if not params.radiomics:
        write_text(study.build / "optimism.csv", "")  # make waits for it; there is no pipeline to resample
        return
    patients, features = study.patients(with_radiomics=True), study.features()
    table = resample(patients, features, params, params.cache_path / "optimism", quiet)
    write_text(study.build / "optimism.csv", table.to_csv(index=False, lineterminator="\n"))


def search_hyperparameters(params: Params, quiet: bool = False) -> None:
    """Search inside the training set: trials and figure in figures/<study>, values in params/<study>-tuned.yaml."""
    from analysis_lib.figures import plots, plots_small_data
    from analysis_lib.stages.search import search, write_tuned

    study = Study(params)
    patients = study.patients(with_radiomics=True)
    train = patients[patients["split"] == "train"]
    features, strata = study.features().loc[train["patient_id"]], strata_of(train, params.network)
    months, died = train["os_months"].to_numpy(float), train["os_event"].to_numpy(bool)
    trials, best = search(features, months, died, params, study.build / "search", quiet, strata)
    write_text(params.figures_path / "search_trials.csv", trials.to_csv(index=False, lineterminator="\n"))
    own = trials.loc[trials["trial"] == 1, "value"].dropna()
    figure = plots_small_data.search_trials(trials, float(own.iloc[0]) if len(own) else None)
    plots.save_figure(figure, params.figures_path, "search", trials, params.synthetic)
    path = PARAMS_DIR / f"{params.study}-tuned.yaml"
    write_tuned(path, params.study, best, trials, params)
    print(f"chosen values are in {path.relative_to(ROOT)}; run them with make study STUDY={path.stem}")


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
