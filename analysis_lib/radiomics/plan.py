"""What a PyRadiomics parameter file asks for: image types, classes, the names of the features, and who computes them.

``Plan.slow`` says for what ``fast_radiomics`` is not known to give PyRadiomics' values; anything not listed here is
part of it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from radiomics import getFeatureClasses
from radiomics.featureextractor import RadiomicsFeatureExtractor

from analysis_lib.common.errors import StudyError
from analysis_lib.radiomics.processing import IbsiProcessing, read_section

TEXTURE = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
# Settings of which every value is covered, or that change nothing in an extraction of one value per feature.
_ANY_VALUE = {
    "additionalInfo", "binCount", "binWidth", "correctMask", "distances", "force2D", "force2Ddimension", "gldm_a",
    "gradientUseSpacing", "initValue", "interpolator", "kernelRadius", "label", "label_channel", "lbp2DMethod",
    "lbp2DRadius", "lbp2DSamples", "maskedKernel", "minimumROIDimensions", "minimumROISize", "normalize",
    "normalizeScale", "padDistance", "preCrop", "removeOutliers", "resampledPixelSpacing", "resegmentMode",
    "resegmentRange", "resegmentShape", "sigma", "symmetricalGLCM", "voxelArrayShift", "voxelBatch", "wavelet",
    "weightingNorm",
}  # fmt: skip
# Settings of which only these values are covered.
_ONLY = {"level": (1,), "start_level": (0,)}
_IMAGES = {
    "Original", "Wavelet", "LoG", "Square", "SquareRoot", "Logarithm", "Exponential", "Gradient", "LBP2D",
}  # fmt: skip

# Settings that are spent when ``process`` has been.
PROCESSED = {"resampledPixelSpacing": None, "resegmentRange": None}


class ExtractionError(StudyError, ValueError):
    """Features that cannot be had; the message names the feature or image, the cause and the fix."""


class NoRadiomicsError(ExtractionError):
    """Nothing is wrong with the images, but the features that are asked for need more than they have."""


@dataclass(frozen=True)
class Plan:
    """A parameter file as PyRadiomics reads it."""

    extractor: RadiomicsFeatureExtractor
    settings: dict[str, Any]
    images: dict[str, dict[str, Any]]
    classes: dict[str, list[str]]  # class -> names of its features, in PyRadiomics' order
    slow: tuple[str, ...]  # what the fast path does not cover
    ibsi: IbsiProcessing | None = None  # if it is there, resampling and resegmentation are done by ``process``


def read_plan(parameter_file: Path | str) -> Plan:
    """The parameter file's plan; raises whatever PyRadiomics' schema checker says of an invalid one."""
    return _read(str(parameter_file), Path(parameter_file).read_bytes())


def expected_names(parameter_file: Path | str) -> list[str]:
    """Names that ``extract`` gives for this parameter file."""
    return feature_names(read_plan(parameter_file))


def default_region(parameter_file: Path | str) -> tuple[int, int]:
    """The region's value in the mask and, of a mask with several, its channel, as the parameter file names them."""
    settings = read_plan(parameter_file).settings
    return int(settings.get("label", 1)), int(settings.get("label_channel", 0))


@lru_cache(maxsize=16)
def _read(path: str, content: bytes) -> Plan:  # the content is part of the key, so that an edit is seen
    loaded = yaml.safe_load(content) or {}
    by_ibsi = isinstance(loaded, dict) and "ibsi" in loaded
    ibsi = read_section(loaded.pop("ibsi")) if by_ibsi else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the schema checker's way to load its functions
        extractor = RadiomicsFeatureExtractor(loaded if by_ibsi else path)
    settings = dict(extractor.settings)
    images = {name: dict(custom or {}) for name, custom in extractor.enabledImagetypes.items()}
    classes = {}
    named = bool(loaded.get("featureClass"))
    for name, features in extractor.enabledFeatures.items():
        if name == "shape2D" and not named and not settings.get("force2D"):
            continue  # without a list PyRadiomics takes every class that the settings allow
        known = getFeatureClasses()[name].getFeatureNames()
        classes[name] = (
            list(dict.fromkeys(features)) if features else [f for f, deprecated in known.items() if not deprecated]
        )
    slow = _slow(settings, images, classes)
    if by_ibsi and (slow or settings.get("normalize") or settings.get("preCrop")):
        raise ExtractionError(
            "section ibsi goes with images and settings of the fast path alone (docs/radiomics.md); take the others "
            "or the section out of the parameter file"
        )
    if ibsi is not None and ibsi.first_level_at is not None and settings.get("binCount") is not None:
        raise ExtractionError("first_level_at of section ibsi goes with binWidth; take it or binCount out")
    return Plan(extractor, settings, images, classes, slow, ibsi)


def _slow(settings: dict, images: dict, classes: dict) -> tuple[str, ...]:
    """What the fast path is not known to give PyRadiomics' values for; anything not listed here is not."""
    found = [*sorted(set(images) - _IMAGES), *sorted(set(classes) - {"shape", "shape2D", "firstorder", *TEXTURE})]
    for image, custom in images.items():
        both = {**settings, **custom}
        found += [key for key in both if key not in _ANY_VALUE and both[key] not in _ONLY.get(key, ())]
        found += [f"label of {image}"] if "label" in custom else []
    for name, features in classes.items():
        known = getFeatureClasses()[name].getFeatureNames()
        found += [f"{name}_{feature}" for feature in features if known.get(feature)]  # deprecated
    return tuple(dict.fromkeys(found))


def slow_note(parameter_file: Path | str) -> str:
    """What of this parameter file makes every patient slow, in a sentence; empty if nothing does."""
    slow = read_plan(parameter_file).slow
    return bool(slow) * (
        f"{Path(parameter_file).name}: {', '.join(slow)}: not in the fast extractor, so PyRadiomics itself computes "
        "all of this file: seconds a patient instead of tenths (docs/radiomics.md)"
    )


def feature_names(plan: Plan) -> list[str]:
    """Names in PyRadiomics' order: shape first, then image by image."""
    names = [f"original_{c}_{f}" for c in plan.classes if c.startswith("shape") for f in plan.classes[c]]
    for image in _image_names(plan):
        names += [f"{image}_{c}_{f}" for c in plan.classes if not c.startswith("shape") for f in plan.classes[c]]
    return list(dict.fromkeys(names))


def _image_names(plan: Plan) -> list[str]:
    names = []
    for image_type, custom in plan.images.items():
        settings = {**plan.settings, **custom}
        if image_type == "Original":
            names.append("original")
        elif image_type == "LoG":
            names += [log_name(s) for s in settings.get("sigma", [])]
        elif image_type == "Wavelet":
            names += _wavelet_names(settings)
        elif image_type == "LBP2D":
            names.append("lbp-2D")
        elif image_type == "LBP3D":
            levels = settings.get("lbp3DLevels", 2)
            names += [*(f"lbp-3D-m{level}" for level in range(1, levels + 1)), "lbp-3D-k"]
        else:
            names.append(image_type.lower())
    return names


def log_name(sigma: float) -> str:
    """PyRadiomics' name of a Laplacian of Gaussian of ``sigma`` mm."""
    return f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D"


def _wavelet_names(settings: dict) -> list[str]:
    axes = 2 if settings.get("force2D", False) else 3
    bands = ["".join("LH"[n >> (axes - 1 - i) & 1] for i in range(axes)) for n in range(1, 2**axes)]
    levels = settings.get("level", 1)
    prefix = ["wavelet-" if level == 1 else f"wavelet{level}-" for level in range(1, levels + 1)]
    return [p + band for p in prefix for band in bands] + [prefix[-1] + "L" * axes]


def too_thin(size_xyz: tuple[int, ...], spacing_xyz: tuple[float, ...], parameter_file: Path | str) -> str:
    """Why an image of this size (voxels) and spacing (mm) is too thin for a filter; empty if it is not."""
    return skipped_images(size_xyz, spacing_xyz, read_plan(parameter_file))


def skipped_images(
    size_xyz: tuple[int, ...], spacing_xyz: tuple[float, ...], plan: Plan, prepared: bool = False
) -> str:
    """PyRadiomics leaves out LoG images of thin volumes without an error. prepared: cropped and resampled already."""
    if "LoG" not in plan.images or (plan.settings.get("resampledPixelSpacing") and not prepared):
        return ""
    size, spacing = np.array(size_xyz), np.array(spacing_xyz)
    where, more = (" around the mask", "raise padDistance, ") if prepared else ("", "")
    for sigma in {**plan.settings, **plan.images["LoG"]}.get("sigma", []):
        needed = np.maximum(4, np.ceil(sigma / spacing) + 1)
        if np.any(size < needed):
            return (
                f"{log_name(sigma)}: the image{where} has {' x '.join(map(str, size))} voxels and the Laplacian of "
                f"Gaussian needs at least {' x '.join(f'{n:.0f}' for n in needed)}; give the whole series, {more}"
                f"or take LoG out of the parameter file"
            )
    return ""


def too_deep(size_zyx: tuple[int, ...], parameter_file: Path | str) -> str:
    """Why a region of this size (voxels of its bounding box) has no 2-D shape; empty if it has, or needs none."""
    return several_planes(size_zyx, read_plan(parameter_file))


def several_planes(size_zyx: tuple[int, ...], plan: Plan) -> str:
    """As ``too_deep``, of a parameter file that was read."""
    planes = size_zyx[plan.settings.get("force2Ddimension", 0)]
    if "shape2D" not in plan.classes or not plan.settings.get("force2D", False) or planes == 1:
        return ""
    return (
        f"the mask reaches over {planes} slices and shape2D needs one; let one slice count (in a study, "
        "images.l3_slice: middle), draw it on one, or take shape2D out of the parameter file"
    )
