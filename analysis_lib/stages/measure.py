"""Areas and densities of every patient, from CT and mask or from the table that has them already.

An index that the clinical table has for anyone is the table's for all, and no image is opened for it. Who cannot be
used is excluded with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pandas as pd

from analysis_lib.cohort import cohort
from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS, read_clinical
from analysis_lib.cohort.columns import AREA_OF, MEASURED
from analysis_lib.cohort.index_columns import TAKEN, from_table
from analysis_lib.cohort.question import further_columns
from analysis_lib.cohort.reading import without_rejected
from analysis_lib.cohort.reference import add_scores
from analysis_lib.cohort.sources import LOCATIONS, Source, located, sources
from analysis_lib.common.files import file_hash, remove_leftovers
from analysis_lib.common.hashes import FileHash, contents, known_hashes
from analysis_lib.common.keep import hash_of, keeping
from analysis_lib.common.loss import loss_by_outcome
from analysis_lib.common.pool import TooMuchMemory, map_patients, memory_limit, worker_count
from analysis_lib.common.sarcopenia import add_height_indices
from analysis_lib.core.project import Study
from analysis_lib.ct import indices
from analysis_lib.ct.flags import FLAGS
from analysis_lib.ct.geometry import ImageError, refusing_damage
from analysis_lib.ct.settings import NUMBERS, ImageParams
from analysis_lib.stages import StageError
from analysis_lib.stages.measured import measured_row


def measure_patients(study: Study, quiet: bool = False) -> None:
    """Clinical table and images to ``measured.parquet`` (one row a usable patient) and its exclusions."""
    params = study.params
    remove_leftovers(study.build)
    doubts: list[str] = []
    clinical, excluded = read_clinical(
        study.clinical_file, list(params.cohort.sets), params.clinical, doubts=doubts, further=further_columns(params)
    )
    cohort.check_sets(study, clinical, excluded)
    # A row refused for its values still had a set, which the flowchart counts by; so had one whom a reader rejected.
    sets = clinical.set_index("patient_id")["set"]
    clinical, rejected = without_rejected(study, clinical, doubts)
    given = from_table(clinical)
    measured, failures = (measured_rows if given.columns.empty else measured_or_given)(study, clinical, quiet)
    clinical = clinical.drop(columns=[*LOCATIONS, *MEASURED])
    exclusions = cohort.exclusion_table([excluded, rejected, failures], sets)
    study.write_measured_exclusions(exclusions)
    if measured.empty:
        first = exclusions.iloc[0]
        raise StageError(f"no patient can be analysed; for example {first.patient_id}: {first.reason}")
    stop, lost = lost_patients(clinical, failures.set_index("patient_id")["reason"])
    if stop:
        raise StageError(stop)
    for text in [*doubts, *lost]:
        print(f"warning: {text}", file=sys.stderr)
    if not given.columns.empty:  # a heading may be there that nobody mapped
        print(f"note: no image is opened for what the clinical table has: {', '.join(given)}", file=sys.stderr)
    measured = measured.drop(columns="identity_in_headers")
    table = add_height_indices(clinical.merge(measured, on="patient_id", validate="one_to_one"))
    for name in given.columns.intersection(list(AREA_OF)):  # as printed
        table[name] = table["patient_id"].map(given[name]).fillna(table[name])
    table, notes = add_scores(table, study)
    for text in notes:
        print(f"note: {text}", file=sys.stderr)
    study.write_measured(table)


def lost_patients(clinical: pd.DataFrame, reasons: pd.Series) -> tuple[str, list[str]]:
    """As ``loss_by_outcome``, of those whose images or features cannot be used: ``reasons`` by patient_id."""
    table = clinical.set_index("patient_id")
    excluded = pd.Series(table.index.isin(reasons.index), index=table.index)
    return loss_by_outcome(excluded, table["os_event"], table["os_months"], reasons.reindex(table.index))


def reads_images(study: Study, clinical: pd.DataFrame) -> bool:
    """Whether indices are measured: the clinical table has none, or lacks some and there are images for the rest."""
    given = from_table(clinical)
    images = (study.data / "ct").is_dir() or clinical["ct_path"].notna().any()
    return given.columns.empty or (images and not set(indices.MEASURES) <= set(given.columns))


def measured_or_given(study: Study, clinical: pd.DataFrame, quiet: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As ``measured_rows``, of a table that has indices: its own, and for the rest images, where there are any.

    A patient whose images cannot be used keeps what the table has, with the reason in ``ct_notes``.
    """
    given, own = from_table(clinical), clinical.set_index("patient_id")
    asked = clinical if reads_images(study, clinical) else clinical.head(0)
    rows, failures = measured_rows(study, asked, quiet or asked.empty, need_sm="sm_area_cm2" not in given)
    reasons = failures.set_index("patient_id")["reason"].reindex(given.index)
    texts = ["ct_series", "ct_notes", "series_uid", "slices_z_mm", "phase", "flags"]
    numbers = [*indices.MEASURES, *indices.ATTENUATION, *NUMBERS]
    columns = ["ct_series", "ct_notes", "identity_in_headers", *indices.MEASURES, "series_uid", "slices_z_mm"]
    columns += [*indices.ATTENUATION, *FLAGS]
    table = rows.set_index("patient_id").reindex(index=given.index, columns=columns)
    table = table.astype(dict.fromkeys(texts, object) | dict.fromkeys(numbers, float))
    table["ct_notes"] = table["ct_notes"].where(table["ct_notes"].notna(), reasons).fillna("")
    table["ct_notes"] = (f"{TAKEN}{', '.join(given.columns)}; " + table["ct_notes"]).str.removesuffix("; ")
    table["series_uid"] = table["series_uid"].where(table["series_uid"].notna(), own["series_uid"])
    table["phase"] = table["phase"].where(table["phase"].notna(), "unknown")
    table[texts] = table[texts].where(table[texts].notna(), "")
    table["identity_in_headers"] = table["identity_in_headers"].eq(True)
    table = table.assign(**given[given.columns.intersection(list(indices.MEASURES))])
    nobody = table[list(indices.MEASURES)].isna().all(axis=1) & given.isna().all(axis=1)
    lacking = pd.DataFrame({"patient_id": given.index, "stage": "clinical table", "reason": reasons.fillna(NO_INDEX)})
    return table[~nobody].reset_index(), lacking[nobody.to_numpy()].reset_index(drop=True)


def measured_rows(
    study: Study, clinical: pd.DataFrame, quiet: bool = False, need_sm: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Areas and densities of the patients of a clinical table, and those whose images cannot be used.

    A row is kept for all studies as it is measured, and found again by the bytes of CT and mask.
    """
    params, found = study.params, list(sources(study, clinical).values())
    images, keep = params.images, keeping(measured_row, study.cache / "measured", apart=("source", "images"))
    with known_hashes(study.hashes) as hash_by, ThreadPoolExecutor(worker_count(params.workers)) as threads:
        inputs = list(threads.map(partial(inputs_of, images=images, hash_by=hash_by), found))
    pairs = list(zip(inputs, found, strict=True))
    known = [keep.known(keep.path(own, source, images, need_sm)) if own else None for own, source in pairs]
    jobs = [
        (source, images, need_sm, own, keep if own else measured_row)
        for (own, source), row in zip(pairs, known, strict=True)
        if row is None
    ]
    new = iter(map_patients(measure_one, jobs, workers=params.workers, label="indices", quiet=quiet, died=_killed))
    results = [
        next(new) if row is None else {"patient_id": source.patient_id, **row}
        for source, row in zip(found, known, strict=True)
    ]
    failures = pd.DataFrame([r for r in results if "reason" in r], columns=EXCLUSION_COLUMNS)
    rows = [r for r in results if "reason" not in r]
    measured = pd.DataFrame(rows, columns=None if rows else ["patient_id", "series_uid"])
    if rows:
        _report(measured, quiet)
    return measured, failures


def remeasured(study: Study, quiet: bool = False) -> pd.DataFrame | None:
    """Rows of the patients measured before, as with other ``images``; None without images."""
    if not study.data.is_dir() or "sm_area_cm2" in from_table(clinical := located(study)):
        return None
    return measured_rows(study, clinical, quiet)[0]


def _report(measured: pd.DataFrame, quiet: bool) -> None:
    """What the user should know of the images, one line each, without a name."""
    named, noted = int(measured["identity_in_headers"].sum()), int((measured["ct_notes"] != "").sum())
    if named:
        print(
            f"warning: the DICOM headers of {named} of {len(measured)} measured patients carry identity (names, birth "
            "dates, numbers or institutions); no output shows it, but de-identify the files before passing them on",
            file=sys.stderr,
        )
    counts = measured["flags"][measured["flags"] != ""].str.split("; ").explode().value_counts()
    if len(counts):
        print(
            f"warning: flags of {len(measured)} measured patients: "
            f"{', '.join(f'{name} {count}' for name, count in counts.items())}; make check shows them",
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


def measure_one(
    source: Source, images: ImageParams, need_sm: bool = True, inputs: str = "", measured: Callable = measured_row
) -> dict[str, object]:
    """Areas and densities of one patient as a row, or the row of the exclusions with the reason.

    ``inputs``: see ``inputs_of``; ``measured``: ``measured_row``, or what keeps its answers.
    """
    try:
        with memory_limit(images.memory_gb), refusing_damage():
            return {"patient_id": source.patient_id, **measured(inputs, source, images, need_sm)}
    except (ImageError, TooMuchMemory) as error:
        return {"patient_id": source.patient_id, "stage": "images", "reason": str(error)}


def inputs_of(source: Source, images: ImageParams, hash_by: FileHash = file_hash) -> str:
    """Hash of what a patient's row depends on beside its code; empty where a file is missing or cannot be read."""
    try:
        with refusing_damage():
            settings = images.model_dump(mode="json", exclude={"memory_gb"})
            return hash_of(settings, *source.choice, contents(source.files(), hash_by))
    except ImageError:
        return ""


CRASHED = (
    "reading CT and mask ended the process (out of memory, or a file that crashes its decoder); export the series "
    "again, and the segmentation"
)


NO_INDEX = "the table has none of the patient's muscle indices; fill them in"


def _killed(source: Source, *_: object) -> dict[str, object]:
    return {"patient_id": source.patient_id, "stage": "images", "reason": CRASHED}
