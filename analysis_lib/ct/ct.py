"""CT series from DICOM folders, or from one NIfTI or NRRD file, as HU on a regular grid.

A series is read rightly or refused with the reason; nothing is guessed. Headers are read first, pixels
only for the slices that are asked for, because the indices need one slice of a series and decoding is
what costs. Messages name a patient's files by their number, never by name: the name may be a person's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from analysis_lib.ct.data_paths import named_after
from analysis_lib.ct.dicom_headers import Scan, Slice, scan_folder
from analysis_lib.ct.dicom_pixels import AIR_HU, hounsfield
from analysis_lib.ct.dicom_series import Volume, is_axial, volumes
from analysis_lib.ct.geometry import Geometry, ImageError, three
from analysis_lib.ct.volume_files import SUFFIXES, is_volume_file, read_volume, volume_instead_of_dicom

__all__ = ["AIR_HU", "CtSeries", "find_ct", "read_ct"]

SAME_GRID_TOLERANCE = 0.02  # voxels, as of masks


@dataclass(frozen=True)
class CtSeries:
    """A CT whose grid is known and whose pixels are decoded on request.

    description: which of the CT series it is, without any text of the headers.
    notes: what a reader should know of, such as copies that were left out.
    identity: whether headers in the folder say who the patient is.
    """

    geometry: Geometry
    series_uid: str
    files: tuple[Path, ...]  # one a slice, caudal to cranial; a single file for NIfTI and NRRD
    sop_uids: tuple[str, ...] = ()  # one a slice; of a multi-frame file with '#' and the frame's number from 1
    description: str = ""
    notes: tuple[str, ...] = ()
    identity: bool = False
    phase: str = "unknown"  # of contrast medium, by words of the headers
    slices: tuple[Slice, ...] = field(default=(), repr=False)
    turns: tuple[bool, bool, bool] = (False, False, False)  # as of Volume
    volume: sitk.Image | None = field(default=None, repr=False)  # of a single file, read as a whole

    def hounsfield(self, slices: list[int] | None = None) -> np.ndarray:
        """HU of the given slices (all without), array (slice, row, column), int16 where HU are whole."""
        if self.volume is not None:
            volume = sitk.GetArrayFromImage(self.volume)
            return volume if slices is None else volume[slices]
        wanted = range(len(self.slices)) if slices is None else slices
        exchange, *flips = self.turns
        step_y, step_x = (-1 if flip else 1 for flip in flips)
        decoded = (hounsfield(self.slices[k]) for k in wanted)
        return np.ascontiguousarray(np.stack([(one.T if exchange else one)[::step_y, ::step_x] for one in decoded]))

    def image(self) -> sitk.Image:
        """The whole series as a SimpleITK image."""
        return self.geometry.image_of(self.hounsfield())

    def stored_image(self) -> sitk.Image:
        """The whole DICOM series with rows and columns as stored, as SimpleITK and so PyRadiomics read it.

        Slices follow the normal of rows and columns, and no axis is turned. Equal to ``image`` for a patient who lies
        on the back with the head first.
        """
        first = self.slices[0]
        along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
        normal = np.cross(along_row, along_column)
        # As ``geometry`` has it, to the last bit, where both run upwards.
        up = np.reshape(self.geometry.direction, (3, 3))[:, 2]
        ordered, normal = (self.slices, up) if normal @ up > 0 else (self.slices[::-1], -up)
        geometry = Geometry(
            size=(first.shape[1], first.shape[0], len(ordered)),
            origin=three(ordered[0].position_mm),
            spacing=(first.spacing_mm[1], first.spacing_mm[0], self.geometry.spacing[2]),
            direction=tuple(float(v) for v in np.column_stack([along_row, along_column, normal]).ravel()),
        )
        return geometry.image_of(np.stack([hounsfield(one) for one in ordered]))


@dataclass(frozen=True)
class _Refused:
    """A CT series that cannot be used, and as much of it as the choice among the others needs."""

    label: str
    reason: str
    axial: bool
    slices: list[Slice]


def find_ct(folder: Path, patient_id: str) -> Path:
    """The patient's CT below ``folder``: a folder ``<patient_id>``, or a volume file of that name.

    Raises ImageError where there are several. Where there is none, the folder that ``read_ct`` will miss.
    """
    found = named_after(folder, patient_id, SUFFIXES)
    if len(found) > 1:
        raise ImageError(
            f"{len(found)} CTs of this patient ({', '.join(found)}); keep one, or name it in the column ct_path"
        )
    return next(iter(found.values()), folder / patient_id)


def read_ct(
    path: Path,
    covering: np.ndarray | None = None,
    series_uid: str = "",
    grid: Geometry | None = None,
    drawn_on: str = "",
) -> CtSeries:
    """Find the CT series in a DICOM folder, or open one NIfTI or NRRD file (alone in a folder, too).

    Parameters
    ----------
    path : folder (searched with its sub-folders) or file.
    covering : LPS points (n, 3) in mm that the series must contain, as of the mask.
    series_uid : Series Instance UID of the one to take; without, the axial series with the most slices that
        contains ``covering`` is taken.
    grid : the mask's grid. Series whose voxels it shares come before the others: the mask was drawn on one of them.
    drawn_on : Series Instance UID that the mask itself refers to. Without ``series_uid`` it is the one to take, if the
        folder holds it.

    Raises ImageError where there is no usable series, or where two are equally good.
    """
    path = Path(path)
    try:
        is_file, exists = path.is_file(), path.exists()
    except OSError:  # a name that is too long
        is_file = exists = False
    if not exists:
        raise ImageError(
            "the CT of this patient does not exist; put the DICOM files into ct/<patient_id>, or one volume file as "
            f"ct/<patient_id> and one of {', '.join(SUFFIXES)}"
        )
    if is_file and is_volume_file(path):
        return _from_volume(path, covering)
    if not is_file and not path.is_dir():
        raise ImageError("the CT of this patient is neither folder nor file; put the DICOM files into ct/<patient_id>")
    if is_file and path.name.upper() == "DICOMDIR":  # an index of the files beside and below it
        path, is_file = path.parent, False
    scan = scan_folder(path)
    if not is_file and (file := volume_instead_of_dicom(path, scan)):
        return _from_volume(file, covering)
    series_uid = series_uid.strip() or (drawn_on if drawn_on in scan.series else "")
    return _choose(scan, covering, series_uid, grid)


def _from_volume(file: Path, covering: np.ndarray | None) -> CtSeries:
    volume = read_volume(file)
    geometry = Geometry.of(volume)
    lowest = int(sitk.GetArrayViewFromImage(volume).min())
    # As where a converter left the scanner's stored values as they are.
    notes = (f"no value lies below {lowest} HU, not even air: are these HU?",) if lowest >= 0 else ()
    series = CtSeries(geometry, "", (file,), description=_size_text(geometry), notes=notes, volume=volume)
    if covering is not None and not _contains(geometry, covering):
        raise _not_contained([series], [], covering)
    return series


def _choose(scan: Scan, covering: np.ndarray | None, series_uid: str, grid: Geometry | None) -> CtSeries:
    if not scan.series and scan.packed:
        raise ImageError("the CT is packed (zip or gzip); unpack it and put the DICOM files into ct/<patient_id>")
    if not scan.series:
        raise ImageError(f"no CT slices in the folder{scan.describe_rest()}; export the series from the PACS again")
    usable, refused = _candidates(scan, series_uid)
    if not usable:
        lost = f" ({len(scan.damaged)} file(s) cannot be read: damaged, empty or not allowed)" if scan.damaged else ""
        raise ImageError("; ".join(f"{r.label}{r.reason}" for r in refused) + lost)
    chosen = usable
    if covering is not None:
        chosen = [s for s in usable if _contains(s.geometry, covering)]
        if not chosen:
            raise _not_contained(usable, refused, covering)
    if grid is not None:
        chosen = [s for s in chosen if _same_voxels(s.geometry, grid)] or chosen
        whole = [s for s in chosen if _same_extent(s.geometry, grid)]
        # A mask of one slice has the grid of a series of one slice by chance, as of bolus tracking.
        chosen = whole if whole and whole[0].geometry.size[2] > 1 else chosen
    most = max(s.geometry.size[2] for s in chosen)
    longest = [s for s in chosen if s.geometry.size[2] == most]
    if covering is not None:
        # Phases on one grid, of which any may be the one that was segmented, however many slices each has.
        longest += [s for s in chosen if s not in longest and _same_voxels(s.geometry, longest[0].geometry)]
    if len(longest) > 1:
        raise _tie(longest)
    for other in refused:
        if other.axial and len(other.slices) >= most and _may_contain(other.slices, covering):
            raise ImageError(
                f"{other.label}has {len(other.slices)} slices and would be the choice, but: {other.reason}. "
                "Mend it, or name the series to use in the column series_uid"
            )
    _refuse_damage(scan, longest[0])
    return longest[0]


def _candidates(scan: Scan, series_uid: str) -> tuple[list[CtSeries], list[_Refused]]:
    """Every volume of the folder that can be used, and every series that cannot; of one series only if it is named."""
    order = sorted(scan.series, key=lambda uid: (_number(scan.series[uid][0].series_number), uid))
    if series_uid and series_uid not in scan.series:
        counts = ", ".join(f"{_label(scan.series[uid])}of {len(scan.series[uid])} slices" for uid in order)
        raise ImageError(
            f"the folder holds no CT series with the UID of the column series_uid; it holds {counts}. Mend the UID"
        )
    usable, refused = [], []
    for place, uid in enumerate(order, start=1):
        if series_uid and uid != series_uid:
            continue
        slices = scan.series[uid]
        try:
            found = volumes(slices)
        except ImageError as error:
            label = _label(slices) + ": " if len(order) > 1 else ""
            refused.append(_Refused(label.replace(" : ", ": "), str(error), is_axial(slices), slices))
            continue
        usable += [_series(scan, uid, volume, f"series {place} of {len(order)}", len(found)) for volume in found]
    return usable, refused


def _series(scan: Scan, uid: str, volume: Volume, which: str, n_volumes: int) -> CtSeries:
    part = f" (one of {n_volumes} volumes)" if n_volumes > 1 else ""
    return CtSeries(
        volume.geometry,
        uid,
        tuple(one.file for one in volume.slices),
        tuple(one.sop_uid for one in volume.slices),
        description=f"{which}{part}, {_size_text(volume.geometry)}",
        notes=volume.notes,
        identity=scan.identity,
        phase=volume.slices[0].phase,
        slices=volume.slices,
        turns=volume.turns,
    )


def _size_text(geometry: Geometry) -> str:
    count = geometry.size[2]
    return f"{count} slice{'s' if count > 1 else ''}, {geometry.spacing[2]:.4g} mm"


def _label(slices: list[Slice]) -> str:
    """How messages name a series: by the number that the scanner shows, never by UID or description."""
    number = slices[0].series_number
    return f"CT series number {number} " if number.isdigit() else "a CT series without number "


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _tie(chosen: list[CtSeries]) -> ImageError:
    counts = sorted({s.geometry.size[2] for s in chosen})
    n_slices = " and ".join(map(str, counts))
    if len({s.series_uid for s in chosen}) == 1:
        parts = [s.slices for s in chosen]
        names = [n for n in parts[0][0].splits if len({p[0].splits.get(n) for p in parts}) > 1]
        return ImageError(
            f"the series holds {len(chosen)} volumes of {n_slices} slices at the same positions (time points or "
            f"acquisitions; they differ in {', '.join(names)}); export the segmented one as a series of its own"
        )
    labels = ", ".join(s.description.split(",")[0] for s in chosen)
    shown = [s.slices[0].series_number for s in chosen]
    numbers = ", ".join(number if number.isdigit() else "?" for number in shown)
    equally = "are equally good" if len(counts) == 1 else "lie on one grid and contain the mask"
    return ImageError(
        f"{len(chosen)} CT series of {n_slices} slices {equally} ({labels}; series numbers {numbers}); "
        "name the one that was segmented in the column series_uid"
    )


def _not_contained(usable: list[CtSeries], refused: list[_Refused], covering: np.ndarray) -> ImageError:
    grids = " | ".join(s.geometry.describe() for s in usable)
    low, high = covering.min(axis=0), covering.max(axis=0)
    others = "".join(f". {r.label}{r.reason}" for r in refused if r.axial)
    return ImageError(
        f"no CT series contains the mask, which spans {low.round(1).tolist()} to {high.round(1).tolist()} mm; "
        f"CT: {grids}. Export the segmentation again with the CT as reference{others}"
    )


def _refuse_damage(scan: Scan, chosen: CtSeries) -> None:
    """A damaged file in the series' folders may be its first or last slice, which leaves no gap to notice."""
    folders = {file.parent for file in chosen.files}
    lost = [file for file in scan.damaged if file.parent in folders]
    if lost:
        raise ImageError(
            f"{len(lost)} file(s) in the folder of the CT are damaged or no DICOM; export the series again"
        )


def _may_contain(slices: list[Slice], covering: np.ndarray | None) -> bool:
    """Whether slices of a refused series reach over the points along the body; True where that is not known."""
    heights = [one.position_mm[2] for one in slices if len(one.position_mm) == 3 and np.isfinite(one.position_mm[2])]
    if covering is None or not heights:
        return True
    return min(heights) <= covering[:, 2].max() and covering[:, 2].min() <= max(heights)


def _contains(geometry: Geometry, points: np.ndarray) -> bool:
    inverse = np.linalg.inv(geometry.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    return bool((index > -0.5).all() and (index < np.array(geometry.size) - 0.5).all())


def _same_voxels(ct: Geometry, mask: Geometry) -> bool:
    """Whether the two grids share voxel size, axes (in any order and sense) and phase."""
    to_ct = np.linalg.inv(ct.affine) @ mask.affine
    turned = np.round(to_ct[:3, :3])
    one_to_one = (np.abs(turned).sum(axis=0) == 1).all() and (np.abs(turned).sum(axis=1) == 1).all()
    exact = np.abs(to_ct[:3, :3] - turned).max() <= SAME_GRID_TOLERANCE / 2
    offset = to_ct[:3, 3] - np.round(to_ct[:3, 3])
    return bool(one_to_one and exact and np.abs(offset).max() <= 0.1)


def _same_extent(ct: Geometry, mask: Geometry) -> bool:
    """Whether a mask's grid, of the CT's voxels, begins and ends with the CT."""
    corners = np.array([[0, 0, 0], mask.size]) - [[0, 0, 0], [1, 1, 1]]
    to_ct = np.linalg.inv(ct.affine) @ mask.affine
    found = np.sort(corners @ to_ct[:3, :3].T + to_ct[:3, 3], axis=0)
    return bool(np.abs(found - [np.zeros(3), np.array(ct.size) - 1]).max() <= 0.1)
