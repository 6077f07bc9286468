"""Automatic masks: TotalSegmentator run on every patient's CT, in the layout that the study reads.

It runs in an environment of its own, on the CT as the study reads it, so that its masks lie on that very grid. A
patient is done when all files are there; they appear together or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import SimpleITK as sitk
from tqdm import tqdm

from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.cohort.sources import Source, sources
from analysis_lib.common.files import remove_leftovers, temporary_prefix, write_text
from analysis_lib.core.project import Study
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.geometry import ImageError, refusing_damage
from analysis_lib.ct.masks import SUFFIXES
from analysis_lib.ct.nifti_check import check_nifti
from analysis_lib.stages import StageError

COLUMNS = ["patient_id", "state", "empty", "reason"]
WITH_SUBSET = ("total", "total_mr")  # tasks of which a part can be asked for


def segment_patients(study: Study, program: str, device: str = "gpu", quiet: bool = False) -> tuple[str, int]:
    """Masks of every patient to ``data/<study>/masks/<patient_id>/<class>.nii.gz``, and ``masks.csv``.

    ``program`` is TotalSegmentator's command, relative to the project or on the PATH; ``device`` as it has it. Who has
    a mask already, by hand or by an earlier run, is passed over. A patient whose CT or mask cannot be had is counted,
    and the others go on. Returns what was done in words, and how many failed.
    """
    if study.params.data_dir:
        raise StageError(f"study {study.name} reads the data of another (data_dir); make masks for that one")
    command = [_installed(study, program), "--device", device]
    clinical, _ = read_clinical(study.clinical_file, list(study.params.cohort.sets), study.params.clinical)
    folder = study.data / "masks"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    rows = []
    for name, source in tqdm(sources(study, clinical).items(), unit="patient", desc="masks", disable=quiet):
        try:
            if source.mask_path or _has_mask(folder, name, study):
                rows.append((name, "there", "", ""))
            elif not source.ct().exists():
                rows.append((name, "without CT", "", ""))
            else:
                rows.append((name, "made", ", ".join(_segment(source, folder, study, command)), ""))
        except ImageError as error:
            rows.append((name, "failed", "", str(error)))
        table = pd.DataFrame(rows, columns=COLUMNS)
        write_text(study.build / "masks.csv", table.to_csv(index=False, lineterminator="\n"), sync=False)
    return _told(study, table)


def _installed(study: Study, program: str) -> str:
    """Path of the program, whose version must be the one of its lock; StageError says how to have it."""
    local = study.project.root / program
    found = str(local) if local.is_file() else shutil.which(program)
    lock = (study.project.root / "requirements" / "masks.lock").read_text(encoding="utf-8")
    wanted = re.search(r"^totalsegmentator==(\S+)", lock, re.MULTILINE)
    assert wanted is not None
    if found is None:
        raise StageError(f"{Path(program).name} is not installed; run it by make masks STUDY={study.name}")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\d+(\.\d+)+\S*", asked.stdout)
    if asked.returncode or not version or version[0] != wanted[1]:
        said = version[0] if version else _last_line(asked.stderr) or "nothing"
        raise StageError(
            f"{Path(program).name} {wanted[1]} is needed (requirements/masks.lock), and --version says {said}; remove "
            ".venv-masks, then make masks builds it anew"
        )
    return found


def _has_mask(folder: Path, name: str, study: Study) -> bool:
    """Whether the patient has a mask: a file, a folder without our classes, or a folder with all of them."""
    place = folder / name
    if not place.is_dir():
        return any((folder / f"{name}{suffix}").is_file() for suffix in SUFFIXES)
    present = {path.name.removesuffix(".nii.gz") for path in place.iterdir()}
    wanted = {kept for classes in study.params.masks.tasks.values() for kept in classes}
    if present & wanted and not wanted <= present:
        lacking = ", ".join(sorted(wanted - present))
        raise ImageError(f"the folder of masks lacks {lacking}; remove it, and it is made anew")
    return bool(present)


def _segment(source: Source, folder: Path, study: Study, command: list[str]) -> list[str]:
    """Run every task for one patient and move the classes to their place; returns the classes that are empty."""
    working = folder / f"{temporary_prefix()}{source.patient_id}"
    place, empty = working / "whole", []
    place.mkdir(parents=True)
    try:
        with refusing_damage():
            image = read_ct(source.ct(), series_uid=source.series_uid).image()
        sitk.WriteImage(image, str(working / "ct.nii.gz"))
        for task, classes in study.params.masks.tasks.items():
            output = working / task
            asked = ["-i", str(working / "ct.nii.gz"), "-o", str(output), "--task", task]
            subset = ["--roi_subset", *classes] if task in WITH_SUBSET else []
            run = subprocess.run([*command, *asked, *subset], capture_output=True, text=True, check=False)
            if run.returncode:
                if "requires a license" in run.stdout:
                    raise StageError(
                        f"TotalSegmentator's task {task} needs a licence, free for non-commercial use: ask for it at "
                        "backend.totalsegmentator.com/license-academic and set it by totalseg_set_license, or name "
                        "other classes in masks.tasks (docs/public_data.md)"
                    )
                why = _last_line(run.stderr or run.stdout)
                raise ImageError(f"TotalSegmentator, task {task}, ended with {run.returncode}: {why}")
            for name in classes:
                if _is_empty(output / f"{name}.nii.gz", image, task):
                    empty.append(name)
                os.replace(output / f"{name}.nii.gz", place / f"{name}.nii.gz")
        if (folder / source.patient_id).is_dir():
            (folder / source.patient_id).rmdir()  # an empty one
        os.replace(place, folder / source.patient_id)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return empty


def _is_empty(path: Path, image: sitk.Image, task: str) -> bool:
    """Whether a class was found nowhere; ImageError where its file is missing, damaged or on another grid."""
    if not path.is_file():
        raise ImageError(f"TotalSegmentator, task {task}, wrote no {path.name}; is it a class of this task?")
    try:
        with refusing_damage():
            check_nifti(path)
            mask = sitk.ReadImage(str(path))
    except ImageError as error:
        raise ImageError(f"TotalSegmentator, task {task}, left {path.name} damaged: {error}") from None
    if mask.GetSize() != image.GetSize():
        raise ImageError(f"{path.name} is on another grid than the CT ({mask.GetSize()} and {image.GetSize()})")
    return not sitk.GetArrayViewFromImage(mask).any()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it says nothing"


def _told(study: Study, table: pd.DataFrame) -> tuple[str, int]:
    counts = {state: int((table["state"] == state).sum()) for state in ("made", "there", "failed", "without CT")}
    failed = table[table["state"] == "failed"]
    for row in failed.itertuples(index=False):
        print(f"failed: {row.patient_id}: {row.reason}", file=sys.stderr)
    lines = [f"masks of {counts['made']} patients made, {counts['there']} were there, {counts['failed']} failed"]
    lines += [f"{counts['without CT']} patients have no CT"] if counts["without CT"] else []
    found_nowhere = table.loc[table["empty"] != "", "empty"].str.split(", ").explode().value_counts()
    lines += [f"in {n} of them no {name} was found" for name, n in found_nowhere.items()]
    if study.params.images.l3_slice == "all":
        lines.append(f"set images.l3_slice: vertebra in params/{study.name}.yaml, or all slices of the masks count")
    return "\n".join([*lines, f"then: make check STUDY={study.name}"]), counts["failed"]
