"""What a PyRadiomics parameter file asks for: image types, classes, the names of the features, and who computes them.

``Plan.covered`` says whether ``fast_radiomics`` is known to give PyRadiomics' values for it; anything not listed here
is not.
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
    "additionalInfo", "binCount", "binWidth", "distances", "force2D", "force2Ddimension", "gldm_a",
    "initValue", "interpolator", "kernelRadius", "label", "label_channel", "maskedKernel", "minimumROIDimensions",
    "minimumROISize", "normalizeScale", "padDistance", "removeOutliers", "resegmentMode", "resegmentShape",
    "sigma", "symmetricalGLCM", "voxelArrayShift", "voxelBatch", "wavelet", "weightingNorm",
}  # fmt: skip
# Settings of which only these values are covered.
_ONLY = {
    "normalize": (False,), "resampledPixelSpacing": (None,), "preCrop": (False,), "resegmentRange": (None,),
    "correctMask": (False,), "level": (1,), "start_level": (0,),
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
    covered: bool
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
    covered = _covered({**settings, **PROCESSED} if by_ibsi else settings, images, classes)
    if by_ibsi and not covered:
        raise ExtractionError(
            "section ibsi goes with images and settings of the fast path alone (docs/radiomics.md); take the others "
            "or the section out of the parameter file"
        )
    if ibsi is not None and ibsi.first_level_at is not None and settings.get("binCount") is not None:
        raise ExtractionError("first_level_at of section ibsi goes with binWidth; take it or binCount out")
    return Plan(extractor, settings, images, classes, covered, ibsi)


def _covered(settings: dict, images: dict, classes: dict) -> bool:
    """Whether the fast path is known to give PyRadiomics' values; anything not listed is not."""
    if not set(images) <= {"Original", "Wavelet", "LoG"}:
        return False
    if not set(classes) <= {"shape", "shape2D", "firstorder", *TEXTURE}:
        return False
    for custom in images.values():
        if "label" in custom:
            return False
        both = {**settings, **custom}
        if not all(key in _ANY_VALUE or both[key] in _ONLY.get(key, ()) for key in both):
            return False
    if "Wavelet" in images and {**settings, **images["Wavelet"]}.get("force2D", False):
        return False
    deprecated = {(c, f) for c in classes for f, old in getFeatureClasses()[c].getFeatureNames().items() if old}
    return not any((c, f) in deprecated for c, features in classes.items() for f in features)


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


def skipped_images(size_xyz: tuple[int, ...], spacing_xyz: tuple[float, ...], plan: Plan) -> str:
    """PyRadiomics leaves out LoG images of thin volumes without an error."""
    if "LoG" not in plan.images or plan.settings.get("resampledPixelSpacing"):
        return ""
    size, spacing = np.array(size_xyz), np.array(spacing_xyz)
    for sigma in {**plan.settings, **plan.images["LoG"]}.get("sigma", []):
        needed = np.maximum(4, np.ceil(sigma / spacing) + 1)
        if np.any(size < needed):
            return (
                f"{log_name(sigma)}: the image has {' x '.join(map(str, size))} voxels and the Laplacian of "
                f"Gaussian needs at least {' x '.join(f'{n:.0f}' for n in needed)}; give the whole series, "
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
