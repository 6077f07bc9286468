"""PyRadiomics' features of one patient, with PyRadiomics' values, many times faster.

The feature formulas are PyRadiomics' own classes (``fast_classes``). What is done differently: the image is resampled
near the mask only (``fast_resampling``), the filters are evaluated on the mask's slices only (``fast_wavelets``,
``fast_log``), the texture matrices come from one table of neighbours (``fast_matrices``) and the diameters from few
vertices (``fast_mesh``), an image is discretised once for all classes, and checks, copies and logging are done once.
A parameter file that asks for anything that ``plan`` does not list as covered is computed by plain PyRadiomics.

    van Griethuysen et al. 2017, Computational radiomics system, doi 10.1158/0008-5472.CAN-17-0339
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from radiomics import getFeatureClasses, imageoperations

from analysis_lib.radiomics.fast_classes import Region, feature_values, image_features, shape_class
from analysis_lib.radiomics.fast_log_rounding import ItkLaplacian
from analysis_lib.radiomics.fast_resampling import resampled
from analysis_lib.radiomics.fast_wavelets import wavelet_bands
from analysis_lib.radiomics.names import parse
from analysis_lib.radiomics.plan import (
    PROCESSED,
    ExtractionError,
    NoRadiomicsError,
    Plan,
    feature_names,
    log_name,
    read_plan,
    several_planes,
    skipped_images,
)
from analysis_lib.radiomics.processing import IbsiProcessing, process

VERSION = "3"  # what a saved model says of its features; raise it when a value could change

logging.getLogger("radiomics").setLevel(logging.ERROR)  # its hints are this module's errors


def extract(
    image: sitk.Image, mask: sitk.Image, parameter_file: Path | str, label: int | None = None
) -> dict[str, float]:
    """Every feature that the parameter file asks for, by PyRadiomics' names.

    image: 3-D scalar image, intensities in HU for CT; mask: label map on the same grid; label: the region's
    value in the mask, by default the parameter file's.
    Equal to ``RadiomicsFeatureExtractor(parameter_file).execute`` without its diagnostics.

    Raises NoRadiomicsError for an image too thin for a filter and for 2-D shape of several slices, ExtractionError
    where else PyRadiomics would leave features out or give NaN, and PyRadiomics' own ValueError for an empty, too small
    or misplaced mask.
    """
    plan = read_plan(parameter_file)
    label = plan.settings.get("label", 1) if label is None else label
    mask = whole_numbers(mask)
    if plan.ibsi is not None:
        return _checked(_extract_by_ibsi(image, mask, plan, plan.ibsi, label), plan)
    if reason := skipped_images(image.GetSize(), image.GetSpacing(), plan):
        raise NoRadiomicsError(reason)
    fast = not plan.slow and _same_grid(image, mask)
    result = _extract_fast(image, mask, plan, label) if fast else None
    if result is None:
        result = _extract_plain(image, mask, plan, label)
    return _checked(result, plan)


def _extract_by_ibsi(
    image: sitk.Image, mask: sitk.Image, plan: Plan, ibsi: IbsiProcessing, label: int
) -> dict[str, Any]:
    """Shape and the rest each from its own mask of the image that ``process`` makes."""
    if not _same_grid(image, mask):
        raise ExtractionError("section ibsi needs the mask on the grid of the image; export it again on this image")
    image, *masks = process(image, mask, label, plan.settings, ibsi)
    settings = plan.settings | PROCESSED | {"label": 1}
    shape = {name: features for name, features in plan.classes.items() if name.startswith("shape")}
    rest = {name: features for name, features in plan.classes.items() if name not in shape}
    result: dict[str, Any] = {}
    for region, classes, images in zip(masks, (shape, rest), ({}, plan.images), strict=True):
        part = replace(plan, settings=settings, classes=classes, images=images)
        if reason := skipped_images(image.GetSize(), image.GetSpacing(), part):
            raise NoRadiomicsError(reason)
        if (values := _extract_fast(image, region, part, 1)) is None:
            imageoperations.checkMask(image, region, **settings)  # words what is wrong
            raise ExtractionError("the region has another shape than the features need; draw it again")
        result |= values
    return result


def whole_numbers(mask: sitk.Image) -> sitk.Image:
    """A mask of real numbers as PyRadiomics takes it, which cuts off the decimals."""
    real = (sitk.sitkFloat32, sitk.sitkFloat64, sitk.sitkVectorFloat32, sitk.sitkVectorFloat64)
    if mask.GetPixelID() not in real:
        return mask
    return sitk.Cast(mask, sitk.sitkUInt32 if mask.GetPixelID() in real[:2] else sitk.sitkVectorUInt32)


def _same_grid(image: sitk.Image, mask: sitk.Image) -> bool:
    if image.GetDimension() != 3 or mask.GetDimension() != 3:
        return False
    if image.GetNumberOfComponentsPerPixel() != 1 or mask.GetNumberOfComponentsPerPixel() != 1:
        return False
    if image.GetSize() != mask.GetSize():
        return False  # PyRadiomics explains it
    tolerance = sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance() * min(image.GetSpacing())
    place = np.abs(np.subtract(image.GetOrigin() + image.GetSpacing(), mask.GetOrigin() + mask.GetSpacing()))
    turn = np.abs(np.subtract(image.GetDirection(), mask.GetDirection()))
    return bool(place.max() <= tolerance and turn.max() <= sitk.ProcessObject.GetGlobalDefaultDirectionTolerance())


def _extract_plain(image: sitk.Image, mask: sitk.Image, plan: Plan, label: int) -> dict[str, Any]:
    result = plan.extractor.execute(image, mask, label=label)
    return {k: v for k, v in result.items() if not k.startswith("diagnostics_")}


def _checked(result: dict[str, Any], plan: Plan) -> dict[str, float]:
    out = {name: np.asarray(value).item() if np.ndim(value) else float(value) for name, value in result.items()}
    expected = feature_names(plan)
    if missing := [name for name in expected if name not in out]:
        raise ExtractionError(
            f"PyRadiomics left out {len(missing)} features without an error ({_list(missing)}): {_why(missing)}; "
            "mend this, or take them out of the parameter file"
        )
    bad = [name for name, value in out.items() if not np.isfinite(value)]
    if bad:
        raise ExtractionError(f"not a finite number: {_list([f'{name} = {out[name]}' for name in bad])}")
    return out


def _why(missing: list[str]) -> str:
    classes = getFeatureClasses()
    parts = [parse(name)[2:] for name in missing]
    if all(classes[class_name].getFeatureNames()[feature] for class_name, feature in parts):
        return "they are deprecated, and it no longer computes them"
    if all(class_name == "shape2D" for class_name, _ in parts):
        return "it computes shape2D with force2D: true alone, and not along every force2Ddimension"
    return (
        "the image is too small for the filter (after cropping or resampling), it is not 3-D, or a package that the "
        "filter needs is not there"
    )


def _list(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


# --- the fast path --------------------------------------------------------------------------------------


def _extract_fast(image: sitk.Image, mask: sitk.Image, plan: Plan, label: int) -> dict[str, Any] | None:
    settings = {**plan.settings, "label": label}
    region = _region(mask, label, image.GetSpacing())
    if region is None or (region.inside.size == mask.GetNumberOfPixels() and region.inside.all()):
        return None  # PyRadiomics words the errors; a mask that fills the image is one
    image, seen = _prepared(image, mask, region, settings)
    if seen is not mask:
        mask, region = seen, _region(seen, label, image.GetSpacing())
    if region is None or _too_small(region, settings):
        return None
    if reason := skipped_images(image.GetSize(), image.GetSpacing(), plan, prepared=True):
        raise NoRadiomicsError(reason)
    outline = region
    if settings.get("resegmentRange") is not None:
        region, outline = _resegmented(image, mask, region, settings)
    if "shape2D" in plan.classes and not _in_plane(region, settings):
        return None  # PyRadiomics leaves features out
    if reason := several_planes(region.inside.shape, plan):
        raise NoRadiomicsError(reason)
    result: dict[str, Any] = {}
    if "shape" in plan.classes:
        result |= feature_values(shape_class(outline, settings), "original", "shape", plan.classes["shape"])
    if "shape2D" in plan.classes:
        drawn = sitk.GetImageFromArray(outline.inside.astype(np.uint8))
        drawn.SetSpacing(outline.spacing_xyz)
        shape = getFeatureClasses()["shape2D"](drawn, drawn, **{**settings, "label": 1})
        result |= feature_values(shape, "original", "shape2D", plan.classes["shape2D"])
    for name, values, image_settings in _images(image, region, plan):
        result |= image_features(name, values, region, plan.classes, image_settings)
    return result


def _prepared(
    image: sitk.Image, mask: sitk.Image, region: Region, settings: dict[str, Any]
) -> tuple[sitk.Image, sitk.Image]:
    """Image and mask as ``RadiomicsFeatureExtractor.loadImage`` gives them."""
    if settings.get("normalize", False):
        image = imageoperations.normalizeImage(image, **settings)
    bounds = np.array([[part.start, part.stop - 1] for part in region.box[::-1]])
    if settings.get("interpolator") is not None and settings.get("resampledPixelSpacing") is not None:
        return resampled(image, mask, bounds, settings)
    if settings.get("preCrop", False):
        return imageoperations.cropToTumorMask(image, mask, bounds.ravel(), **settings)
    return image, mask


def _resegmented(
    image: sitk.Image, mask: sitk.Image, region: Region, settings: dict[str, Any]
) -> tuple[Region, Region]:
    """The region without the voxels beyond ``resegmentRange``, and what its shape is measured on.

    By default that is all of the region that lies in the box of what is left, as PyRadiomics has it.
    """
    what = f"resegmentRange {settings['resegmentRange']} ({settings.get('resegmentMode', 'absolute')})"
    try:
        kept = imageoperations.resegmentMask(_crop(image, region), _crop(mask, region), **settings)
    except ValueError as error:
        raise NoRadiomicsError(f"{what}: {error}") from error
    left = _region(kept, settings["label"], region.spacing_xyz)
    if left is None or _too_small(left, settings):
        raise NoRadiomicsError(f"{what} leaves too little of the region; widen it, or look at mask and image")
    outline = left if settings.get("resegmentShape", False) else replace(left, inside=region.inside[left.box])
    left.box = tuple(
        slice(part.start + whole.start, part.stop + whole.start)
        for part, whole in zip(left.box, region.box, strict=True)
    )
    return left, outline


def _in_plane(region: Region, settings: dict) -> bool:
    """Whether PyRadiomics tries shape2D. It looks at the size along x where the out-of-plane axis 0 is z."""
    size_xyz = region.inside.shape[::-1]
    return bool(settings.get("force2D", False)) and size_xyz[settings.get("force2Ddimension", 0)] > 1


def _region(mask: sitk.Image, label: int, spacing_xyz: tuple[float, ...]) -> Region | None:
    voxels = sitk.GetArrayViewFromImage(mask)
    slices = np.flatnonzero([(plane == label).any() for plane in voxels])
    if not len(slices):
        return None
    part = voxels[slices[0] : slices[-1] + 1] == label
    rows, columns = np.flatnonzero(part.any(axis=(0, 2))), np.flatnonzero(part.any(axis=(0, 1)))
    box = tuple(slice(int(i[0]), int(i[-1]) + 1) for i in (slices, rows, columns))
    return Region(box, np.ascontiguousarray(part[:, box[1], box[2]]), spacing_xyz)


def _too_small(region: Region, settings: dict) -> bool:
    """Whether PyRadiomics refuses it."""
    thick, least = sum(n > 1 for n in region.inside.shape), settings.get("minimumROISize")
    few = least is not None and region.inside.sum() <= least
    return bool(few) or thick == 0 or thick < settings.get("minimumROIDimensions", 2)


def _crop(image: sitk.Image, region: Region) -> sitk.Image:
    z, y, x = region.box
    return image[x.start : x.stop, y.start : y.stop, z.start : z.stop]


def _images(image: sitk.Image, region: Region, plan: Plan):
    """Yield (PyRadiomics' image name, intensities of the mask's voxels, settings)."""
    volume = sitk.GetArrayViewFromImage(image)
    for image_type, custom in plan.images.items():
        settings = {**plan.settings, **custom}
        flat = settings.get("force2Ddimension", 0)  # an axis of (z, y, x)
        own = getattr(imageoperations, f"get{image_type}Image")
        if image_type == "Original":
            if plan.ibsi is not None and plan.ibsi.first_level_at is not None:
                settings["first_level_at"] = plan.ibsi.first_level_at
            yield "original", volume[region.box][region.inside], settings
        elif image_type == "Wavelet":
            axes = [axis for axis in (2, 1, 0) if axis != flat or not settings.get("force2D", False)]
            bands = wavelet_bands(volume, region.box, settings.get("wavelet", "coif1"), axes)
            for name, band in bands.items():
                yield f"wavelet-{name}", band[region.inside], settings
        elif image_type == "LoG":
            sigmas = settings.get("sigma", [])
            values = ItkLaplacian(image, sigmas, region.box, region.inside).as_itk(settings)
            for sigma in sigmas:
                yield log_name(sigma), values[float(sigma)], settings
        elif image_type in ("Gradient", "LBP2D"):  # of what these see from the box
            starts, reach = [max(0, part.start - 1) for part in region.box], 1
            if image_type == "LBP2D":  # whose sampled places round by how far they are from the image's corner
                starts, reach = [0, 0, 0], int(np.ceil(settings.get("lbp2DRadius", 1))) + 1
                starts[flat] = region.box[flat].start
            z, y, x = (slice(start, part.stop + reach) for start, part in zip(starts, region.box, strict=True))
            filtered, name, _ = next(own(image[x, y, z], None, **settings))
            box = tuple(slice(p.start - s, p.stop - s) for s, p in zip(starts, region.box, strict=True))
            yield name, sitk.GetArrayViewFromImage(filtered)[box][region.inside], settings
        else:  # functions of one voxel, scaled by the largest of the image
            line = np.concatenate([volume[region.box][region.inside], [volume.min(), volume.max()]])
            filtered, name, _ = next(own(sitk.GetImageFromArray(line[None, None]), None, **settings))
            yield name, sitk.GetArrayFromImage(filtered)[0, 0, :-2], settings
