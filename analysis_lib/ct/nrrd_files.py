"""NRRD files: array, grid and header, layers first."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import nrrd
import numpy as np

from analysis_lib.ct.file_length import check_length
from analysis_lib.ct.geometry import Geometry, ImageError

TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
LAYERS = ("list", "vector", "covariant-vector", "normal", "point", "scalar", "complex", "stub", "none")


def read_nrrd(path: Path) -> tuple[np.ndarray, Geometry, dict]:
    """Array (layer, x, y, z), its grid and the header; ImageError where it is damaged or not in patient space."""
    unpacked = check_length(path, "nrrd")
    try:
        if unpacked is None:
            data, header = nrrd.read(str(path))
        else:
            header = nrrd.read_header(str(path))
            data = nrrd.read_data({**header, "encoding": "raw"}, BytesIO(unpacked))
    except MemoryError:
        raise
    except Exception:  # whatever a damaged header or stream makes pynrrd or its decoders raise
        raise ImageError("the image file cannot be read: damaged or cut short; save it again") from None
    if data.ndim == 3:
        data = data[np.newaxis]
    elif data.ndim == 4:
        data = np.moveaxis(data, _layer_axis(header), 0)
    else:
        raise ImageError(
            f"the image file has {data.ndim} dimensions and not 3, or 4 with layers; save it from 3D Slicer as a "
            "segmentation"
        )
    return data, _nrrd_geometry(header, data.shape[1:]), header


def is_bzip2(path: Path) -> bool:
    """Whether the voxels of a file are packed with bzip2; False where its header cannot be read."""
    try:
        return str(nrrd.read_header(str(path))["encoding"]).lower() in ("bzip2", "bz2")
    except Exception:  # as above
        return False


def _layer_axis(header: dict) -> int:
    """Which of four axes is the one of layers: the one without direction in space, else by its kind, else the first."""
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    directions = header.get("space directions")
    without = [
        axis
        for axis, row in enumerate(() if directions is None else directions)
        if row is None or not np.isfinite(np.asarray(row, dtype=float)).all()
    ]
    named = [axis for axis, kind in enumerate(kinds) if kind in LAYERS or kind.endswith(("-color", "-vector"))]
    return (without if len(without) == 1 else named if len(named) == 1 else [0])[0]


def _nrrd_geometry(header: dict, shape: tuple[int, ...]) -> Geometry:
    space = str(header.get("space", "")).lower()
    if space not in TO_LPS:
        raise ImageError("the image file has no known patient space; save it from 3D Slicer")
    try:
        directions = np.array([row for row in header["space directions"] if row is not None], dtype=float)
        origin = np.array(header["space origin"], dtype=float)
    except (KeyError, TypeError, ValueError):
        raise ImageError("the image file does not say where it lies in space; save it from 3D Slicer") from None
    directions = directions[np.isfinite(directions).all(axis=1)]  # the layer axis has no direction
    valid = directions.shape == (3, 3) and origin.shape == (3,) and np.isfinite(origin).all()
    if not valid or abs(np.linalg.det(directions)) < 1e-9:
        raise ImageError("the image file has invalid space directions or origin; save it again from 3D Slicer")
    flip = np.array(TO_LPS[space], dtype=float)
    affine = np.eye(4)
    affine[:3, :3] = (directions * flip).T
    affine[:3, 3] = origin * flip
    return Geometry.from_affine(affine, tuple(int(n) for n in shape))
