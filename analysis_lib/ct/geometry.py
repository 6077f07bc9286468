"""The grid of an image in patient space (LPS, mm), and the errors of reading images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from analysis_lib.common.errors import FULL_DISK, StudyError


class ImageError(StudyError, ValueError):
    """An image or mask cannot be used; the message says why and what to do, without naming a person."""


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Make an ImageError of whatever the files of one patient raise, so that the other patients go on.

    Nothing of the error is told: its text may quote a header or a file name, and its type says nothing to a reader. A
    full disk is no fault of the patient and goes through, and so does MemoryError, which ``memory_limit`` explains.
    """
    try:
        yield
    except (StudyError, MemoryError):
        raise
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise ImageError(
            "a file of the patient cannot be read; allow this user to read CT and mask, or export them again"
        ) from None
    except Exception:
        raise ImageError(
            "CT or mask cannot be read for a reason that is not known; export the series again, and the segmentation"
        ) from None


@dataclass(frozen=True)
class Geometry:
    """Size (x, y, z), origin, spacing in mm and direction cosines of a 3-D grid."""

    size: tuple[int, int, int]
    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """Grid of a SimpleITK image."""
        return cls(image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())

    @classmethod
    def from_affine(cls, affine: np.ndarray, size: Sequence[int]) -> Geometry:
        """Grid of a 4 x 4 matrix that takes voxel indices to LPS mm."""
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        direction = affine[:3, :3] / spacing
        return cls((size[0], size[1], size[2]), three(affine[:3, 3]), three(spacing), tuple(direction.ravel().tolist()))

    @property
    def affine(self) -> np.ndarray:
        """4 x 4 matrix from voxel index (x, y, z) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def pixel_area_cm2(self) -> float:
        """Area of one pixel of a slice, cm2."""
        return self.spacing[0] * self.spacing[1] / 100.0

    def image_of(self, array_zyx: np.ndarray) -> sitk.Image:
        """SimpleITK image of an array (z, y, x) on this grid."""
        image = sitk.GetImageFromArray(array_zyx)
        image.SetOrigin(self.origin)
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)
        return image

    def describe(self) -> str:
        """Size, spacing, origin and direction as a message shows them."""

        def numbers(values, digits):
            return "(" + ", ".join(f"{v:.{digits}f}" for v in values) + ")"

        return (
            f"size {self.size}, spacing {numbers(self.spacing, 4)} mm, origin {numbers(self.origin, 3)} mm, "
            f"direction {numbers(self.direction, 3)}"
        )


def three(values: Iterable[float]) -> tuple[float, float, float]:
    """Three coordinates as plain numbers."""
    x, y, z = (float(v) for v in values)
    return x, y, z
