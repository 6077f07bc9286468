"""Extraction alone, without a study: from a table of cases like that of PyRadiomics' batch command, or one pair.

The table (CSV) has the columns Image and Mask, paths relative to the table, and optionally ID, Label (value of
the region in the mask), Label_channel (of a mask with several) and Segment (name, in a mask of any format that a
study reads). Image is a file that ITK reads or a folder of DICOM files. Other columns are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from analysis_lib.ct.file_length import detached_files
from analysis_lib.ct.geometry import Geometry
from analysis_lib.ct.mask_segments import VoxelSegment
from analysis_lib.ct.segment_names import described, printable
from analysis_lib.ct.settings import SegmentParams
from analysis_lib.radiomics.fast_radiomics import extract, whole_numbers
from analysis_lib.radiomics.features import feature_table
from analysis_lib.radiomics.plan import default_region, expected_names

Case = dict[str, str]
TURNED = 1e-3  # of a direction cosine: axes that differ by more run another way
REMEDY = re.compile(r"; (draw|give|take|change|export|set|use) ")


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
    """Image and mask (1 inside the region, 0 outside) of one case; default: label and channel where it names none.

    The image is taken as it is stored, as PyRadiomics takes it: features with a direction depend on it.
    """
    image_path, mask_path = Path(case["Image"]), Path(case["Mask"])
    for column, path in (("Image", image_path), ("Mask", mask_path)):
        if not case[column] or not path.exists():
            raise CaseError(f"{column} {case[column] or '(empty)'} does not exist")
    if case.get("Segment", "") or mask_path.is_dir() or masks.kind_of(mask_path) == "dicom":
        return _named_region(case, image_path, mask_path)
    mask = _label(case, _three_dimensions(_read(mask_path), "Mask", case.get("Label_channel", "")), default)
    if mask.GetDimension() != 3:
        return _read(image_path), mask
    grid = Geometry.of(mask)
    region = VoxelSegment("region", sitk.GetArrayViewFromImage(mask).transpose(2, 1, 0), 1, grid)
    if image_path.is_dir():
        image = _series_image(image_path, region.points(), grid, "")
    else:
        image = _three_dimensions(_read(image_path), "Image", "")
    if image.GetDimension() == 3 and not np.allclose(image.GetDirection(), mask.GetDirection(), atol=TURNED):
        # The same voxels in another order, as of a mask that was turned when it was saved.
        mask = _laid_on(region, image)
    return image, mask


def _named_region(case: Case, image_path: Path, mask_path: Path) -> tuple[sitk.Image, sitk.Image]:
    """As ``load_case``, of a segment by name or of the only one that a DICOM file or folder has."""
    segments = masks.read_segments(mask_path)
    if name := case.get("Segment", ""):
        wanted = SegmentParams(names=[name])
        found = masks.choose(segments, wanted)
        if found is None:
            raise masks.missing(segments, wanted)
    else:
        found = _only(segments)
    if image_path.is_dir():
        image = _series_image(image_path, found.points(), found.grid, found.series_uid)
    else:
        image = _three_dimensions(_read(image_path), "Image", "")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise CaseError("the image is not a 3-D image of one channel; give one on which the segment was drawn")
    return image, _laid_on(found, image)


def _only(segments: Sequence[masks.Segment]) -> masks.Segment:
    drawn = [segment for segment in segments if not segment.is_empty]
    if len(drawn) == 1:
        return drawn[0]
    if not drawn:
        raise CaseError("the mask holds no region that is drawn; draw it, or give another mask")
    fix = "name one with --segment, or in the column Segment of a table"
    error = CaseError(f"the mask has {described(drawn, [])}; {fix}")
    error.at_terminal = f"the mask has {masks.listed([printable(s.name) for s in drawn])}; {fix}"
    raise error


def _series_image(folder: Path, covering: np.ndarray, grid: Geometry | None, drawn_on: str) -> sitk.Image:
    series = ct.read_ct(folder, covering=covering, grid=grid, drawn_on=drawn_on)
    return series.stored_image() if series.slices else _read(series.files[0])


def _laid_on(segment: masks.Segment, image: sitk.Image) -> sitk.Image:
    grid = Geometry.of(image)
    return grid.image_of(segment.on_grid(grid).astype(np.uint8))


def _three_dimensions(image: sitk.Image, column: str, channel: str) -> sitk.Image:
    """An image of four dimensions as the one volume that it holds, or that ``channel`` (counted from 0) names."""
    if image.GetDimension() != 4:
        return image
    count = image.GetSize()[3]
    if count > 1 and not channel:
        raise CaseError(
            f"{column} has four dimensions ({count} volumes); name one in the column Label_channel of a table (of a "
            "mask), or save one file a region"
        )
    chosen = int(channel) if count > 1 and channel.strip().isdigit() else 0
    if chosen >= count:
        raise CaseError(f"Label_channel {chosen}: the mask has {count} channels; name one from 0 to {count - 1}")
    return image[:, :, :, chosen]


def _label(case: Case, mask: sitk.Image, default: tuple[int, int]) -> sitk.Image:
    """Mask of one label, and of one channel where there are several."""
    mask = whole_numbers(mask)
    if mask.GetNumberOfComponentsPerPixel() > 1:
        channel = _whole_number(case, "Label_channel", default[1])
        if not 0 <= channel < mask.GetNumberOfComponentsPerPixel():
            raise CaseError(f"Label_channel {channel}: the mask has {mask.GetNumberOfComponentsPerPixel()} channels")
        mask = sitk.VectorIndexSelectionCast(mask, channel)
    label = _whole_number(case, "Label", default[0])
    if label == 0:
        raise CaseError("label 0 is the background of the mask; name the label of the region")
    inside = sitk.GetArrayViewFromImage(mask) == label
    if not inside.any():
        present = np.unique(sitk.GetArrayViewFromImage(mask))
        raise CaseError(f"no voxel of the mask has label {label}; it holds {', '.join(map(str, present[:10]))}")
    one = sitk.GetImageFromArray(inside.astype(np.uint8))
    one.CopyInformation(mask)
    return one


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
        raise CaseError(f"{mask.name}: {' '.join(str(error).split())}{_fix(str(error))}") from None


def _fix(reason: str) -> str:
    """What to do about a region that PyRadiomics refuses, where its text does not say."""
    if "geometry" in reason.lower():
        return "; export the mask again with the image as its reference"
    if REMEDY.search(reason):
        return ""
    return "; take a larger region, or change the settings that ask for more"


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
    return [path, *detached_files(path)]


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
