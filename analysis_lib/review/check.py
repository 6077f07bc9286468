"""``make check``: read every patient as the study would, compute nothing, and show what was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS, ClinicalTableError, read_clinical
from analysis_lib.cohort.cohort import check_sets
from analysis_lib.cohort.columns import KEPT, MEASURED
from analysis_lib.cohort.feature_table import read_features
from analysis_lib.cohort.index_columns import from_table
from analysis_lib.cohort.question import further_columns
from analysis_lib.cohort.reading import rejection, study_reading
from analysis_lib.cohort.reference import read_reference
from analysis_lib.cohort.sources import Source, sources
from analysis_lib.common.files import write_text
from analysis_lib.common.pool import TooMuchMemory, map_patients, memory_limit
from analysis_lib.core.project import Study
from analysis_lib.ct import ct, indices, masks, plausible
from analysis_lib.ct.flags import excluding, flag_table, judge, raised
from analysis_lib.ct.geometry import ImageError, refusing_damage
from analysis_lib.ct.settings import ImageParams
from analysis_lib.figures.check_page import check_page
from analysis_lib.radiomics.plan import too_deep, too_thin
from analysis_lib.review.pictures import refused_picture, slice_picture
from analysis_lib.stages.measure import CRASHED, NO_INDEX, lost_patients, reads_images

NUMBERS = ["sm_area_cm2", "smi", "sm_mean_hu", "pm_area_cm2", "pmi", "pm_mean_hu", "outlier_z"]
COLUMNS = ["patient_id", "set", "status", "series", "series_uid", "slices", "segments", *NUMBERS, "flags", "warnings"]
COLUMNS += ["reason"]
FEWEST_FOR_Z = 10  # patients of a sex
MISSING_WORTH_SAYING = {"height_m": "no height: SMI and PMI are missing", "rfs_months": "no recurrence-free survival"}


@dataclass(frozen=True)
class Checked:
    """What ``check_study`` found: a row a patient (COLUMNS), a picture by patient_id, and how many can go on.

    ``remarks`` are what concerns no patient of the table.
    """

    table: pd.DataFrame
    pictures: dict[str, str]
    usable: int
    remarks: list[str]


def check_study(study: Study, quiet: bool = False) -> Checked:
    """Read table, CT and masks of a study; write ``check/check.html`` and ``check/check.csv`` in its build folder.

    Raises ClinicalTableError where the clinical table cannot be used at all.
    """
    params = study.params
    remarks: list[str] = []
    clinical, excluded = read_clinical(
        study.clinical_file, list(params.cohort.sets), params.clinical, doubts=remarks, further=further_columns(params)
    )
    check_sets(study, clinical, excluded)
    given = from_table(clinical)
    read = clinical if reads_images(study, clinical) or params.features.rois else clinical.head(0)
    need_sm = "sm_area_cm2" not in given
    jobs = [(source, params.images, study.parameter_files, need_sm) for source in sources(study, read).values()]
    looked = map_patients(look_at, jobs, workers=params.workers, label="check", quiet=quiet or not jobs, died=_killed)
    pictures = {row["patient_id"]: row.pop("picture") for row in looked}
    judged = pd.DataFrame([row.pop("numbers") | {"flags": row["flags"]} for row in looked if row["numbers"]])
    looked += [_empty_row(name) | {"status": "ok"} for name in clinical["patient_id"] if read.empty]
    if not given.columns.empty:
        remarks.append(_with_given(looked, given))
    rows = pd.DataFrame(looked, columns=[c for c in COLUMNS if c != "set"] + ["identity"])
    rows = rows.assign(**_indices(rows, clinical.set_index("patient_id")))
    rows["set"] = rows["patient_id"].map(clinical.set_index("patient_id")["set"])
    rows["warnings"] = _warnings(rows, clinical)
    if params.features.table:
        without = rows["patient_id"].map(_without_features(study, clinical, remarks)).fillna("")
        rows["warnings"] = rows["warnings"].str.cat(without, sep="; ").str.strip("; ")
    reading = study_reading(study, clinical, remarks)
    if reading is not None:
        for row in reading[reading["verdict"] == "reject"].itertuples():
            mine = rows["patient_id"] == row.patient_id
            rows.loc[mine, "warnings"] = [
                f"rejected: {rejection(row)}; {text}".strip("; ") for text in rows.loc[mine, "warnings"]
            ]
    refused = excluded[[*EXCLUSION_COLUMNS, "set"]].drop(columns="stage").assign(status="refused")
    table = pd.concat([refused.reindex(columns=COLUMNS), rows[COLUMNS]], ignore_index=True).fillna("")
    order = {"refused": 0, "warning": 1, "ok": 2}
    table.loc[(table["status"] == "ok") & (table["warnings"] != ""), "status"] = "warning"
    table = table.sort_values("status", key=lambda s: s.map(order), kind="stable", ignore_index=True)
    rejected = 0 if reading is None else int((reading["verdict"] == "reject").sum())
    usable = int((table["status"] != "refused").sum()) - rejected
    folder = study.build / "check"
    write_text(folder / "check.csv", table.to_csv(index=False, lineterminator="\n"))
    no_images = rows[rows["status"] == "refused"].set_index("patient_id")["reason"]
    stop, lost = lost_patients(clinical, no_images)
    remarks += [*([f"make study will stop: {stop}"] if stop else []), *lost]
    if params.reference.table:
        try:
            read_reference(study.reference_file)
        except ClinicalTableError as error:
            remarks.append(f"make study will stop: {error}")
    remarks += _without_row(study, {*clinical["patient_id"], *excluded["patient_id"]}, clinical)
    page = check_page(
        table,
        pictures,
        params.study,
        params.cohort,
        int(rows["identity"].eq(True).sum()),
        params.synthetic,
        remarks,
        table_as_read(clinical),
        flag_table(judged, params.images.flags) if len(judged) else None,
        reading,
    )
    write_text(folder / "check.html", page)
    return Checked(table, pictures, usable, remarks)


def _indices(rows: pd.DataFrame, clinical: pd.DataFrame) -> dict[str, pd.Series]:
    """SMI, PMI, and how far the patient's most unusual number lies from the median of the sex, in robust SDs.

    Of SMI, PMI and both mean HU; 1.4826 times the median absolute deviation is an SD where values are normal. The sign
    is kept; NaN where fewer than ``FEWEST_FOR_Z`` of a sex are measured.
    """
    height = rows["patient_id"].map(clinical["height_m"])
    sex = rows["patient_id"].map(clinical["sex"])
    numbers = rows[["sm_mean_hu", "pm_mean_hu"]].astype(float)
    for name, area in (("smi", "sm_area_cm2"), ("pmi", "pm_area_cm2")):
        numbers[name] = rows[area].astype(float) / height.astype(float) ** 2
    scores = pd.DataFrame(np.nan, index=rows.index, columns=numbers.columns)
    for _, mine in numbers.groupby(sex):
        away = mine - mine.median()
        spread = 1.4826 * away.abs().median()
        scores.loc[mine.index] = away / spread.where((spread > 0) & (mine.count() >= FEWEST_FOR_Z))
    most = scores.abs().max(axis=1)
    largest = scores.where(scores.abs().eq(most, axis=0)).bfill(axis=1).iloc[:, 0]
    return {"smi": numbers["smi"], "pmi": numbers["pmi"], "outlier_z": largest}


def _warnings(rows: pd.DataFrame, clinical: pd.DataFrame) -> list[str]:
    """What is said of each patient's images, and what only the whole study shows."""
    table, warnings = clinical.set_index("patient_id"), []
    for k, row in rows.iterrows():
        said = [row["warnings"]]
        mine = table[table["set"] == row["set"]]
        for column, text in MISSING_WORTH_SAYING.items():
            # What a whole set lacks is no slip of one patient.
            if pd.isna(table.at[row["patient_id"], column]) and mine[column].notna().any():
                said.append(text)
        same = rows["patient_id"][(rows["series_uid"] == row["series_uid"]) & (rows.index != k)]
        if row["status"] == "ok" and row["series_uid"] and len(same):
            said.append(f"the same CT series as {', '.join(same[:5])}: one patient twice, or a CT in the wrong place?")
        warnings.append("; ".join(filter(None, said)))
    return warnings


def _without_row(study: Study, known: set[str], clinical: pd.DataFrame) -> list[str]:
    """Sentences on CTs and masks that no row of the table asks for; counted, since their names may be persons'."""
    places = [("CTs", "ct", "ct_path", ct.SUFFIXES), ("masks", "masks", "mask_path", masks.SUFFIXES)]
    said = []
    for what, place, column, suffixes in places:
        folder, found = study.data / place, set()
        for entry in folder.iterdir() if folder.is_dir() and clinical[column].isna().all() else ():
            suffix = next((end for end in suffixes if entry.name.endswith(end)), "")
            if (entry.is_dir() or suffix) and not entry.name.startswith("."):
                found.add(entry.name if entry.is_dir() else entry.name.removesuffix(suffix))
        if count := len(found - known):
            said.append(
                f"{count} {what if count > 1 else what.removesuffix('s')} in the data folder without a row in the "
                "clinical table, so not read; add the row, or mend patient_id"
            )
    return said


def table_as_read(clinical: pd.DataFrame) -> pd.DataFrame:
    """What was understood of each column, for a reader who knows what it should be.

    Columns column, unit, known (patients with a value), values (median and range, or counts).
    """
    rows = []
    for column in KEPT:
        known = clinical[column.name].dropna()
        if column.name in MEASURED and known.empty:
            continue
        if column.kind == "number" and column.name != "l3_z_mm":
            text = f"median {known.median():.4g} ({known.min():.4g} to {known.max():.4g})" if len(known) else "none"
        elif column.kind in ("flag", "sex", "set", "rfs_cause"):
            counts = known.value_counts().sort_index()
            names = [f"{k:g}" if column.kind == "flag" else str(k) for k in counts.index]
            text = ", ".join(f"{name}: {n}" for name, n in zip(names, counts, strict=True)) or "none"
        else:
            continue
        rows.append({"column": column.name, "unit": column.unit, "known": len(known), "values": text})
    return pd.DataFrame(rows)


def _with_given(looked: list[dict[str, object]], given: pd.DataFrame) -> str:
    """Mend the rows where the table has indices, in place: images are not all then. Returns what is to be said."""
    has = given.notna().any(axis=1)
    for row in looked:
        if has[row["patient_id"]] and row["status"] == "refused":
            row |= {"status": "ok", "warnings": row["reason"], "reason": ""}
        elif not has[row["patient_id"]] and not row.get("series"):
            row |= {"status": "refused", "reason": row.get("reason") or NO_INDEX}
    there = ", ".join(f"{name} {count}" for name, count in given.notna().sum().items())
    missing = ", ".join(name for name in indices.MEASURES if name not in given)
    return (
        f"of {len(given)} patients the table has, or gives with the height: {there}; left to images, where there are "
        f"any: {missing or 'nothing'}"
    )


def _without_features(study: Study, clinical: pd.DataFrame, remarks: list[str]) -> dict[str, str]:
    """Who has no features in their table, with what is said of it; what is said of the whole goes to ``remarks``."""
    known, params = clinical[["patient_id", "set"]], study.params
    try:
        _, failures, notes = read_features(study.feature_file, params.clinical, known, params.cohort)
    except ClinicalTableError as error:
        remarks.append(f"make study will stop: {error}")
        return {}
    remarks += notes
    return dict(zip(failures["patient_id"], "indices only, no radiomics: " + failures["reason"], strict=True))


def look_at(
    source: Source, images: ImageParams, parameter_files: dict[str, Path] | None = None, need_sm: bool = True
) -> dict[str, object]:
    """One patient's CT and mask as the study would choose them, with a picture of the L3 slice.

    ``parameter_files`` of PyRadiomics, "sm" and "pm", tell whether there can be radiomics of these slices.
    """
    row = _empty_row(source.patient_id)
    try:
        with memory_limit(images.memory_gb), refusing_damage():
            opened = indices.open_patient(source.ct(), source.mask(), images, **source.where(), need_sm=need_sm)
            counted = indices.counted_slices(opened, images)
            slices, middle = counted.slices, (len(counted.slices) - 1) // 2
            k, hounsfield = slices[middle], counted.hounsfield[middle]
            row["picture"] = _picture(opened, k, hounsfield)
            judged = judge(opened, counted, images)
            said = raised(judged.numbers, images.flags)
            row |= {"numbers": judged.numbers, "flags": "; ".join(said)}
            row["picture"] = _picture(opened, k, hounsfield, judged.overlay(k, [*said], images.flags))
            if counted.doubts:
                raise indices.no_hu(counted.doubts)
            for key, mask in opened.masks.items():
                window, pixel_cm2 = getattr(images, key).hu_window, opened.series.geometry.pixel_area_cm2
                area, density = indices.area_and_density(counted.hounsfield, mask[slices], pixel_cm2, window)
                row |= {f"{key}_area_cm2": area, f"{key}_mean_hu": density}
                plausible.check_area(key, area)
            if reason := excluding(said, images.flags):
                raise ImageError(reason)
    except (ImageError, TooMuchMemory) as error:
        picture = row["picture"] or refused_picture(source, images)
        return row | {"status": "refused", "reason": str(error), "picture": picture}
    affine = opened.series.geometry.affine
    notes = [*opened.notes, *counted.notes, *said.values(), *_no_radiomics(opened, parameter_files or {})]
    heights = [f"{(affine @ [0, 0, s, 1])[2]:.1f}" for s in slices]
    where = ", ".join(f"{s} (z = {z} mm)" for s, z in zip(slices[:5], heights, strict=False))
    return row | {
        "status": "ok",
        "series": opened.series.description,
        "series_uid": opened.series.series_uid,
        "slices": where + (f" and {len(slices) - 5} more" if len(slices) > 5 else ""),
        "segments": ", ".join(
            f"{key.upper()} {opened.names[key]} {int(mask.sum())} pixels" for key, mask in opened.masks.items()
        ),
        "warnings": "; ".join(notes),
        "identity": opened.identity,
    }


def _picture(
    opened: indices.Opened, k: int, hounsfield: np.ndarray, overlay: dict[str, np.ndarray] | None = None
) -> str:
    drawn = {key: mask[k] for key, mask in opened.masks.items()}
    return slice_picture(hounsfield, drawn, opened.series.geometry, overlay)


def _empty_row(patient_id: str) -> dict[str, object]:
    return {"patient_id": patient_id, "picture": "", "identity": False, "warnings": "", "flags": "", "numbers": {}}


def _killed(source: Source, *_: object) -> dict[str, object]:
    return _empty_row(source.patient_id) | {"status": "refused", "reason": CRASHED}


def _no_radiomics(opened: indices.Opened, parameter_files: dict[str, Path]) -> list[str]:
    """At most one sentence on features that these slices cannot have; a muscle that is missing has its own note."""
    geometry = opened.series.geometry
    for key, file in parameter_files.items():
        reason = too_thin(geometry.size, geometry.spacing, file)
        if not reason and key in opened.masks:
            box = np.ptp(np.argwhere(opened.masks[key]), axis=0) + 1
            reason = too_deep(tuple(box.tolist()), file)
        if reason:
            return [f"indices only, no radiomics: {key.upper()}: {reason}"]
    return []


def page_path(study: Study) -> Path:
    """Where the page of ``make check`` lies."""
    return study.build / "check" / "check.html"
