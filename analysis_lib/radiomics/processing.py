"""Images processed as IBSI prescribes where PyRadiomics does otherwise: section ``ibsi`` of a parameter file.

Zwanenburg et al. 2020, doi 10.1148/radiol.2020191145; reference manual, arXiv 1612.07003, chapter 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from pydantic import ValidationError
from radiomics import imageoperations

from analysis_lib.common.errors import ParameterError
from analysis_lib.common.settings import Positive, Section


class IbsiProcessing(Section):
    """What the section ``ibsi`` asks for; a parameter file without it is processed by PyRadiomics.

    With it, ``resampledPixelSpacing`` takes a grid that has the centre of the image (PyRadiomics: its first corner),
    real numbers (the image's own type, cut off) and a mask that is inside from one half on of its linear interpolation
    (the nearest voxel). ``resegmentRange`` and ``interpolator`` are PyRadiomics' own settings.
    """

    round_intensities: bool = False  # to whole numbers after resampling
    outlier_sd: Positive | None = None  # leave out what is further from the mean, after resegmentRange
    first_level_at: float | None = None  # intensity at which grey level 1 of the original image starts, with binWidth


def read_section(section: object) -> IbsiProcessing:
    """The section as a parameter file has it; ParameterError names what is wrong with it."""
    try:
        return IbsiProcessing.model_validate(section or {})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(IbsiProcessing.model_fields)
        raise ParameterError(f"section ibsi: {wrong}; it takes {known}, or nothing") from None


def process(
    image: sitk.Image, mask: sitk.Image, label: int, settings: dict[str, Any], ibsi: IbsiProcessing
) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """Image (float32), the mask for shape and the one for intensities (1 inside), resampled and resegmented.

    image and mask on one grid; settings: PyRadiomics'. Raises PyRadiomics' ValueError for a label that the mask does
    not have, and where resegmentation leaves nothing.
    """
    shape = imageoperations.getMask(mask, **{**settings, "label": label}) == label
    image = sitk.Cast(image, sitk.sitkFloat32)
    if settings.get("resampledPixelSpacing") is not None:
        how = settings.get("interpolator", sitk.sitkBSpline)
        grid = centred_grid(image, settings["resampledPixelSpacing"])
        image = grid(image, getattr(sitk, how) if isinstance(how, str) else how)
        shape = grid(sitk.Cast(shape, sitk.sitkFloat32), sitk.sitkLinear) >= 0.5
    if ibsi.round_intensities:
        image = sitk.Round(image)
    inside = shape
    if settings.get("resegmentRange") is not None:
        inside = imageoperations.resegmentMask(image, inside, **{**settings, "label": 1})
    if ibsi.outlier_sd is not None:
        ends = [-ibsi.outlier_sd, ibsi.outlier_sd]
        inside = imageoperations.resegmentMask(image, inside, resegmentRange=ends, resegmentMode="sigma", label=1)
    return image, inside if settings.get("resegmentShape") else shape, inside


def centred_grid(image: sitk.Image, spacing_xyz: list[float]):
    """Resampler (image, interpolator) -> image to ``spacing_xyz`` mm, 0 for the image's own, centred on ``image``."""
    old, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    new = np.where(np.array(spacing_xyz) == 0, old, spacing_xyz)
    new_size = np.ceil(np.round(size * old / new, 6)).astype(int)
    first = ((size - 1) - (new_size - 1) * new / old) / 2
    sampler = sitk.ResampleImageFilter()
    sampler.SetSize(new_size.tolist())
    sampler.SetOutputOrigin(image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
    sampler.SetOutputSpacing(new.tolist())
    sampler.SetOutputDirection(image.GetDirection())

    def resampled(other: sitk.Image, interpolator: int) -> sitk.Image:
        sampler.SetInterpolator(interpolator)
        return sampler.Execute(other)

    return resampled
