"""Extraction alone, without a study: from a table of cases like that of PyRadiomics' batch command, or one pair.

The table (CSV) has the columns Image and Mask, paths relative to the table, and optionally ID, Label (value of
the region in the mask), Label_channel (of a mask with several) and Segment (name, in a mask of any format that a
study reads). Image is a file that ITK reads or a folder of DICOM files. Other columns are passed on.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from analysis_lib.common.code import code_key
from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing
from analysis_lib.common.keep import hash_of
from analysis_lib.ct import ct, masks
from analysis_lib.ct.settings import SegmentParams
from analysis_lib.radiomics.fast_radiomics import extract, whole_numbers
from analysis_lib.radiomics.features import feature_table
from analysis_lib.radiomics.plan import default_region, expected_names

Case = dict[str, str]
DETACHED = (".mhd", ".nhdr", ".hdr")  # headers whose voxels lie in another file


class CaseError(StudyError, ValueError):
    """The table, the parameter file or the output cannot be used; the message says why and what to do."""


def read_cases(table: Path) -> pd.DataFrame:
    """The table's rows as text, Image and Mask as absolute paths; missing cells are empty."""
    try:
        cases = pd.read_csv(table, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise CaseError(f"table {table} cannot be read: {error}") from None
    if lacking := [name for name in ("Image", "Mask") if name not in cases]:
        raise CaseError(f"table {table} has no column {' and '.join(lacking)}; it has {', '.join(cases.columns)}")
    if cases.empty:
        raise CaseError(f"table {table} has no rows")
    for column in ("Image", "Mask"):
        folder = Path(table).resolve().parent
        cases[column] = [str(folder / path) if path else "" for path in cases[column]]
    return cases


def load_case(case: Case, default: tuple[int, int] = (1, 0)) -> tuple[sitk.Image, sitk.Image]:
    """Image and mask (1 inside the region, 0 outside) of one case; default: label and channel where it names none."""
    image_path, mask_path = Path(case["Image"]), Path(case["Mask"])
    for column, path in (("Image", image_path), ("Mask", mask_path)):
        if not case[column] or not path.exists():
            raise CaseError(f"{column} {case[column] or '(empty)'} does not exist")
    if segment := case.get("Segment", ""):
        segments, wanted = masks.read_segments(mask_path), SegmentParams(names=[segment])
        found = masks.choose(segments, wanted)
        if found is None:
            raise masks.missing(segments, wanted)
        series = ct.read_ct(image_path, covering=found.points(), grid=found.grid)
        mask = series.geometry.image_of(found.on_grid(series.geometry).astype(np.uint8))
        return series.image(), mask
    image = ct.read_ct(image_path).image() if image_path.is_dir() else _read(image_path)
    mask = whole_numbers(_read(mask_path))
    if mask.GetNumberOfComponentsPerPixel() > 1:
        channel = _whole_number(case, "Label_channel", default[1])
        if not 0 <= channel < mask.GetNumberOfComponentsPerPixel():
            raise CaseError(f"Label_channel {channel}: the mask has {mask.GetNumberOfComponentsPerPixel()} channels")
        mask = sitk.VectorIndexSelectionCast(mask, channel)
    label = _whole_number(case, "Label", default[0])
    inside = sitk.GetArrayViewFromImage(mask) == label
    if not inside.any():
        present = np.unique(sitk.GetArrayViewFromImage(mask))
        raise CaseError(f"no voxel of the mask has label {label}; it holds {', '.join(map(str, present[:10]))}")
    one = sitk.GetImageFromArray(inside.astype(np.uint8))
    one.CopyInformation(mask)
    return image, one


def extract_table(
    table: Path, parameter_file: Path, out: Path, workers: int = 0, quiet: bool = False, executor: Any = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of every case of ``table`` to ``out``, a CSV or (by suffix) Parquet file.

    Rows in the table's order, its own columns first, then the features by PyRadiomics' names. Cases that fail are
    not in ``out`` but, with the reason, in ``<out stem>.failures.csv``, which is there only if there are any.
    Results are kept in ``<out stem>.cases/``, so that a second run computes what changed. workers, quiet, executor:
    as for ``feature_table``. Returns both tables.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise CaseError(f"--out {out}: give a name that ends in .csv or .parquet")
    names, default = _parameters(parameter_file)
    cases = read_cases(table)
    known = [c for c in ("ID", "Image", "Mask", "Label", "Label_channel", "Segment") if c in cases]
    keys = [_key(row, number) for number, row in enumerate(cases[known].to_dict("records"), start=1)]
    by_key = dict(zip(keys, cases[known].to_dict("records"), strict=True))
    features, failed = feature_table(
        by_key,
        load=partial(_load, by_key, default),
        fingerprint=partial(_fingerprint, by_key, default),
        parameter_files={"": parameter_file},
        cache_dir=out.with_suffix(".cases"),
        workers=workers,
        quiet=quiet,
        executor=executor,
    )
    reasons = failed.set_index("patient_id")["reason"]
    bad = pd.Series(keys).isin(reasons.index).to_numpy()
    values = features.reindex([key for key, is_bad in zip(keys, bad, strict=True) if not is_bad])
    done = pd.concat([cases[~bad].reset_index(drop=True), values.reset_index(drop=True)[names]], axis=1)
    failures = cases[bad].assign(reason=[reasons[key] for key, is_bad in zip(keys, bad, strict=True) if is_bad])
    with replacing(out) as temporary:
        if out.suffix == ".csv":
            done.to_csv(temporary, index=False, lineterminator="\n")
        else:
            done.to_parquet(temporary, index=False)
    failure_path = out.with_suffix(".failures.csv")
    if failures.empty:
        failure_path.unlink(missing_ok=True)
    else:
        with replacing(failure_path) as temporary:
            failures.to_csv(temporary, index=False, lineterminator="\n")
    return done, failures


def extract_one(
    image: Path, mask: Path, parameter_file: Path, label: int | None = None, segment: str = ""
) -> dict[str, float]:
    """Features of one pair of files."""
    default = _parameters(parameter_file)[1]
    case = {"Image": str(image), "Mask": str(mask), "Label": "" if label is None else str(label), "Segment": segment}
    loaded = load_case(case, default)
    try:
        return extract(*loaded, parameter_file, label=1)
    except (ValueError, RuntimeError) as error:  # what PyRadiomics says of a region it cannot use
        raise CaseError(
            f"{mask.name}: {' '.join(str(error).split())}; draw the region again, or change the parameters"
        ) from None


def _parameters(path: Path) -> tuple[list[str], tuple[int, int]]:
    """Names of the features, and label and channel of the region, of a parameter file."""
    if not path.is_file():
        raise CaseError(f"parameter file {path} does not exist")
    try:
        return expected_names(path), default_region(path)
    except Exception as error:  # whatever the schema checker raises: its text says what is wrong
        raise CaseError(f"parameter file {path} is not valid: {' '.join(str(error).split())[:500]}") from None


def _key(case: Case, number: int) -> str:
    """Name of a case's kept result: what a reader knows it by, made unique by what it consists of."""
    return f"{case.get('ID') or f'case-{number}'}-{hash_of(case)[:8]}"


def _load(cases: dict[str, Case], default: tuple[int, int], key: str) -> tuple[sitk.Image, dict[str, sitk.Image]]:
    image, mask = load_case(cases[key], default)
    return image, {"": mask}


def _fingerprint(cases: dict[str, Case], default: tuple[int, int], key: str) -> str:
    case = cases[key]
    places = [Path(case[name]) for name in ("Image", "Mask") if case["Image"] and case["Mask"]]
    files = [file for place in places for file in _files_of(place) if file.is_file()]
    return hash_of(code_key(load_case), default, case.get("Label"), case.get("Segment"), files)


def _files_of(path: Path) -> list[Path]:
    """A folder's files, or an image with the file of its voxels where that is apart (.mhd, .nhdr, .hdr)."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    files = [path]
    if path.suffix.lower() in DETACHED and path.is_file():
        header = path.read_bytes()[:100_000].decode("latin-1")
        named = re.findall(r"(?im)^(?:ElementDataFile\s*=|data ?file:)[ \t]*(\S.*?)\s*$", header)
        files += [path.parent / name for name in named] or [path.with_suffix(".img"), path.with_suffix(".img.gz")]
    return files


def _read(path: Path) -> sitk.Image:
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise CaseError(f"{path.name} cannot be read as an image: {str(error).splitlines()[-1]}") from None


def _whole_number(case: Case, column: str, default: int) -> int:
    text = case.get(column, "").strip()
    if not text:
        return default
    try:
        if float(text).is_integer():
            return int(float(text))
    except ValueError:
        pass
    raise CaseError(f"{column} '{text}' is no whole number; write one")
