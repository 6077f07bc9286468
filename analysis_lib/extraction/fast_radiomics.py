"""PyRadiomics' features of one patient, with PyRadiomics' values, many times faster.

The feature formulas are PyRadiomics' own classes. What is done differently: the filters are evaluated on the
mask's slices only (``fast_wavelets``, ``fast_log``), the texture matrices come from one table of neighbours
(``fast_matrices``) and the diameters from few vertices (``fast_mesh``), an image is discretised once for all
classes, and checks, copies and logging are done once.
A parameter file that asks for anything outside of ``_covered`` is computed by plain PyRadiomics.

    van Griethuysen et al. 2017, Computational radiomics system, doi 10.1158/0008-5472.CAN-17-0339
"""

from __future__ import annotations

import logging
import types
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import yaml
from radiomics import getFeatureClasses, imageoperations
from radiomics.featureextractor import RadiomicsFeatureExtractor

from analysis_lib.errors import StudyError
from analysis_lib.extraction.fast_log import LaplacianOfGaussian
from analysis_lib.extraction.fast_matrices import Matrices, Neighbours, use, with_globals
from analysis_lib.extraction.fast_mesh import mesh_coefficients
from analysis_lib.extraction.fast_wavelets import wavelet_bands

VERSION = "3"  # part of the cache key of stored features; raise it when a value could change

logging.getLogger("radiomics").setLevel(logging.ERROR)  # its hints are this module's errors

_TEXTURE = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
# Settings of which every value is covered, or that change nothing in an extraction of one value per feature.
_ANY_VALUE = {
    "additionalInfo", "binCount", "binWidth", "distances", "force2D", "force2Ddimension", "gldm_a",
    "initValue", "interpolator", "kernelRadius", "label", "label_channel", "maskedKernel", "minimumROIDimensions",
    "minimumROISize", "normalizeScale", "padDistance", "removeOutliers", "resegmentMode", "resegmentShape",
    "sigma", "symmetricalGLCM", "voxelArrayShift", "voxelBatch", "wavelet",
}  # fmt: skip
# Settings of which only these values are covered.
_ONLY = {
    "normalize": (False,), "resampledPixelSpacing": (None,), "preCrop": (False,), "resegmentRange": (None,),
    "correctMask": (False,), "weightingNorm": (None,), "level": (1,), "start_level": (0,),
}  # fmt: skip


class ExtractionError(StudyError, ValueError):
    """Features that cannot be had; the message names the feature or image, the cause and the fix."""


class NoRadiomicsError(ExtractionError):
    """Nothing is wrong with the images, but the features that are asked for need more than they have."""


@dataclass(frozen=True)
class _Plan:
    """A parameter file as PyRadiomics reads it."""

    extractor: RadiomicsFeatureExtractor
    settings: dict[str, Any]
    images: dict[str, dict[str, Any]]
    classes: dict[str, list[str]]  # class -> names of its features, in PyRadiomics' order
    covered: bool


def extract(
    image: sitk.Image, mask: sitk.Image, parameter_file: Path | str, label: int | None = None
) -> dict[str, float]:
    """Every feature that the parameter file asks for, by PyRadiomics' names.

    image: 3-D scalar image, intensities in HU for CT; mask: label map on the same grid; label: the region's
    value in the mask, by default the parameter file's.
    Equal to ``RadiomicsFeatureExtractor(parameter_file).execute`` without its diagnostics.

    Raises NoRadiomicsError for an image too thin for a filter, ExtractionError where else PyRadiomics would leave
    features out or give NaN, and PyRadiomics' own ValueError for an empty, too small or misplaced mask.
    """
    plan = _read(str(parameter_file), Path(parameter_file).read_bytes())
    if reason := _skipped_images(image.GetSize(), image.GetSpacing(), plan):
        raise NoRadiomicsError(reason)
    label = plan.settings.get("label", 1) if label is None else label
    mask = whole_numbers(mask)
    fast = plan.covered and _same_grid(image, mask)
    result = _extract_fast(image, mask, plan, label) if fast else None
    if result is None:
        result = _extract_plain(image, mask, plan, label)
    return _checked(result, plan)


def whole_numbers(mask: sitk.Image) -> sitk.Image:
    """A mask of real numbers as PyRadiomics takes it, which cuts off the decimals."""
    real = (sitk.sitkFloat32, sitk.sitkFloat64, sitk.sitkVectorFloat32, sitk.sitkVectorFloat64)
    if mask.GetPixelID() not in real:
        return mask
    return sitk.Cast(mask, sitk.sitkUInt32 if mask.GetPixelID() in real[:2] else sitk.sitkVectorUInt32)


def expected_names(parameter_file: Path | str) -> list[str]:
    """Names that ``extract`` gives for this parameter file."""
    return _names(_read(str(parameter_file), Path(parameter_file).read_bytes()))


def default_region(parameter_file: Path | str) -> tuple[int, int]:
    """The region's value in the mask and, of a mask with several, its channel, as the parameter file names them."""
    settings = _read(str(parameter_file), Path(parameter_file).read_bytes()).settings
    return int(settings.get("label", 1)), int(settings.get("label_channel", 0))


@lru_cache(maxsize=16)
def _read(path: str, content: bytes) -> _Plan:  # the content is part of the key, so that an edit is seen
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the schema checker's way to load its functions
        extractor = RadiomicsFeatureExtractor(path)
    settings = dict(extractor.settings)
    images = {name: dict(custom or {}) for name, custom in extractor.enabledImagetypes.items()}
    classes = {}
    named = bool((yaml.safe_load(content) or {}).get("featureClass"))
    for name, features in extractor.enabledFeatures.items():
        if name == "shape2D" and not named and not settings.get("force2D"):
            continue  # without a list PyRadiomics takes every class that the settings allow
        known = getFeatureClasses()[name].getFeatureNames()
        classes[name] = (
            list(dict.fromkeys(features)) if features else [f for f, deprecated in known.items() if not deprecated]
        )
    return _Plan(extractor, settings, images, classes, _covered(settings, images, classes))


def _covered(settings: dict, images: dict, classes: dict) -> bool:
    """Whether the fast path is known to give PyRadiomics' values; anything not listed is not."""
    if not set(images) <= {"Original", "Wavelet", "LoG"}:
        return False
    if not set(classes) <= {"shape", "shape2D", "firstorder", *_TEXTURE}:
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


def _names(plan: _Plan) -> list[str]:
    names = [f"original_{c}_{f}" for c in plan.classes if c.startswith("shape") for f in plan.classes[c]]
    for image in _image_names(plan):
        names += [f"{image}_{c}_{f}" for c in plan.classes if not c.startswith("shape") for f in plan.classes[c]]
    return list(dict.fromkeys(names))


def _image_names(plan: _Plan) -> list[str]:
    names = []
    for image_type, custom in plan.images.items():
        settings = {**plan.settings, **custom}
        if image_type == "Original":
            names.append("original")
        elif image_type == "LoG":
            names += [_log_name(s) for s in settings.get("sigma", [])]
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


def _log_name(sigma: float) -> str:
    return f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D"


def _wavelet_names(settings: dict) -> list[str]:
    axes = 2 if settings.get("force2D", False) else 3
    bands = ["".join("LH"[n >> (axes - 1 - i) & 1] for i in range(axes)) for n in range(1, 2**axes)]
    levels = settings.get("level", 1)
    prefix = ["wavelet-" if level == 1 else f"wavelet{level}-" for level in range(1, levels + 1)]
    return [p + band for p in prefix for band in bands] + [prefix[-1] + "L" * axes]


def too_thin(size_xyz: tuple[int, ...], spacing_xyz: tuple[float, ...], parameter_file: Path | str) -> str:
    """Why an image of this size (voxels) and spacing (mm) is too thin for a filter; empty if it is not."""
    return _skipped_images(size_xyz, spacing_xyz, _read(str(parameter_file), Path(parameter_file).read_bytes()))


def _skipped_images(size_xyz: tuple[int, ...], spacing_xyz: tuple[float, ...], plan: _Plan) -> str:
    """PyRadiomics leaves out LoG images of thin volumes without an error."""
    if "LoG" not in plan.images or plan.settings.get("resampledPixelSpacing"):
        return ""
    size, spacing = np.array(size_xyz), np.array(spacing_xyz)
    for sigma in {**plan.settings, **plan.images["LoG"]}.get("sigma", []):
        needed = np.maximum(4, np.ceil(sigma / spacing) + 1)
        if np.any(size < needed):
            return (
                f"{_log_name(sigma)}: the image has {' x '.join(map(str, size))} voxels and the Laplacian of "
                f"Gaussian needs at least {' x '.join(f'{n:.0f}' for n in needed)}; give the whole series, "
                f"or take LoG out of the parameter file"
            )
    return ""


def _same_grid(image: sitk.Image, mask: sitk.Image) -> bool:
    if image.GetDimension() != 3 or mask.GetDimension() != 3:
        return False
    if image.GetNumberOfComponentsPerPixel() != 1 or mask.GetNumberOfComponentsPerPixel() != 1:
        return False
    if image.GetPixelID() == sitk.sitkFloat64 or image.GetSize() != mask.GetSize():
        return False  # ITK gives another pixel type for double; PyRadiomics explains a wrong size
    tolerance = sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance() * min(image.GetSpacing())
    place = np.abs(np.subtract(image.GetOrigin() + image.GetSpacing(), mask.GetOrigin() + mask.GetSpacing()))
    turn = np.abs(np.subtract(image.GetDirection(), mask.GetDirection()))
    return bool(place.max() <= tolerance and turn.max() <= sitk.ProcessObject.GetGlobalDefaultDirectionTolerance())


def _extract_plain(image: sitk.Image, mask: sitk.Image, plan: _Plan, label: int) -> dict[str, Any]:
    result = plan.extractor.execute(image, mask, label=label)
    return {k: v for k, v in result.items() if not k.startswith("diagnostics_")}


def _checked(result: dict[str, Any], plan: _Plan) -> dict[str, float]:
    out = {name: float(np.squeeze(value)) for name, value in result.items()}
    expected = _names(plan)
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
    parts = [name.rsplit("_", 2)[1:] for name in missing]
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


@dataclass
class _Region:
    """The mask, cropped to its bounding box."""

    box: tuple[slice, ...]
    inside: np.ndarray  # (z, y, x) bool of the box
    spacing_xyz: tuple[float, ...]
    neighbours: dict[tuple, Neighbours] = field(default_factory=dict)

    def matrices(self, bins: np.ndarray, settings: dict) -> Matrices | Any:
        if list(settings.get("distances", [1])) != [1]:
            return None  # PyRadiomics' C code
        plane = (settings.get("force2D", False), settings.get("force2Ddimension", 0))
        if plane not in self.neighbours:
            self.neighbours[plane] = Neighbours(self.inside, *plane)
        return Matrices(self.neighbours[plane], bins)


def _extract_fast(image: sitk.Image, mask: sitk.Image, plan: _Plan, label: int) -> dict[str, Any] | None:
    region = _region(mask, label, plan.settings, image.GetSpacing())
    if region is None or ("shape2D" in plan.classes and not _in_plane(region, plan.settings)):
        return None  # PyRadiomics words the error, or leaves features out
    result: dict[str, Any] = {}
    if "shape" in plan.classes:
        result |= _values(_shape(region, plan.settings), "original", "shape", plan.classes["shape"])
    if "shape2D" in plan.classes:
        crop = _crop(image, region), _crop(mask, region)
        shape = getFeatureClasses()["shape2D"](*crop, **{**plan.settings, "label": label})
        result |= _values(shape, "original", "shape2D", plan.classes["shape2D"])
    for name, values, settings in _images(image, region, plan):
        result |= _image_features(name, values, region, plan, settings)
    return result


def _in_plane(region: _Region, settings: dict) -> bool:
    """Whether PyRadiomics tries shape2D. It looks at the size along x where the out-of-plane axis 0 is z."""
    size_xyz = region.inside.shape[::-1]
    return bool(settings.get("force2D", False)) and size_xyz[settings.get("force2Ddimension", 0)] > 1


def _region(mask: sitk.Image, label: int, settings: dict, spacing_xyz: tuple[float, ...]) -> _Region | None:
    voxels = sitk.GetArrayViewFromImage(mask)
    slices = np.flatnonzero([(plane == label).any() for plane in voxels])
    if not len(slices):
        return None
    part = voxels[slices[0] : slices[-1] + 1] == label
    rows, columns = np.flatnonzero(part.any(axis=(0, 2))), np.flatnonzero(part.any(axis=(0, 1)))
    box = tuple(slice(int(i[0]), int(i[-1]) + 1) for i in (slices, rows, columns))
    inside = np.ascontiguousarray(part[:, box[1], box[2]])
    thick = sum(n > 1 for n in inside.shape)
    least = settings.get("minimumROISize")
    if thick == 0 or thick < settings.get("minimumROIDimensions", 2):
        return None
    if least is not None and inside.sum() <= least:
        return None
    if len(np.unique(inside)) == 1 and inside.size == voxels.size:
        return None  # the mask fills the image: PyRadiomics finds no background and refuses
    return _Region(box, inside, spacing_xyz)


def _crop(image: sitk.Image, region: _Region) -> sitk.Image:
    z, y, x = region.box
    return image[x.start : x.stop, y.start : y.stop, z.start : z.stop]


def _images(image: sitk.Image, region: _Region, plan: _Plan):
    """Yield (PyRadiomics' image name, intensities of the mask's voxels, settings)."""
    volume = sitk.GetArrayViewFromImage(image)
    for image_type, custom in plan.images.items():
        settings = {**plan.settings, **custom}
        if image_type == "Original":
            yield "original", volume[region.box][region.inside], settings
        elif image_type == "Wavelet":
            bands = wavelet_bands(volume, region.box, settings.get("wavelet", "coif1"))
            for name, band in bands.items():
                yield f"wavelet-{name}", band[region.inside], settings
        else:
            sigmas = settings.get("sigma", [])
            values = LaplacianOfGaussian(image, sigmas, region.box, region.inside).as_itk(settings)
            for sigma in sigmas:
                yield _log_name(sigma), values[float(sigma)], settings


def _shape(region: _Region, settings: dict):
    """PyRadiomics' shape class, its constructor's work done with the fast mesh."""
    shape = _bare("shape", settings)
    shape.pixelSpacing = np.array(region.spacing_xyz[::-1])
    shape.maskArray = np.pad(region.inside, 1)
    shape.labelledVoxelCoordinates = np.where(shape.maskArray)
    shape.SurfaceArea, shape.Volume, shape.diameters = mesh_coefficients(shape.maskArray, shape.pixelSpacing)
    coordinates = np.array(shape.labelledVoxelCoordinates, dtype=int).T * shape.pixelSpacing
    coordinates = (coordinates - coordinates.mean(axis=0)) / np.sqrt(len(coordinates))
    eigenvalues = np.linalg.eigvals(coordinates.T.copy() @ coordinates)
    eigenvalues[(eigenvalues < 0) & (eigenvalues > -1e-10)] = 0
    shape.eigenValues = np.sort(eigenvalues)
    return shape


def _bare(name: str, settings: dict):
    """An object of a PyRadiomics feature class with nothing computed yet."""
    feature_class = _CLASSES.get(name) or getFeatureClasses()[name]
    bare = feature_class.__new__(feature_class)
    bare.logger = _SILENT
    bare.settings = settings
    bare.label = settings.get("label", 1)
    bare.voxelBased = False
    bare.coefficients = {}
    bare.symmetricalGLCM = settings.get("symmetricalGLCM", True)
    bare.weightingNorm = None
    bare.gldm_a = settings.get("gldm_a", 0)
    bare.voxelArrayShift = settings.get("voxelArrayShift", 0)
    return bare


class _FirstOrder(getFeatureClasses()["firstorder"]):
    """On voxels sorted by intensity, each sum taken once; no missing values."""

    def prepare(self, values: np.ndarray) -> None:
        self._sorted = np.sort(values.astype(float))
        self.targetVoxelArray = self._sorted.reshape(1, -1)
        deviation = self._sorted - self._sorted.mean()
        square = deviation * deviation
        self._absolute_deviation = np.abs(deviation).mean()
        self._moments = {2: square.mean(), 3: (square * deviation).mean(), 4: (square * square).mean()}
        shifted = self._sorted + self.voxelArrayShift
        self._energy = (shifted * shifted).sum()

    def _moment(self, _, moment: int = 1) -> np.ndarray:
        return np.array([self._moments[moment]])

    def _percentile(self, percent: float) -> float:
        """That of ``numpy.percentile`` (linear), to the last bit."""
        position = percent / 100 * (len(self._sorted) - 1)
        below = int(position)
        part = position - below
        low, high = self._sorted[below], self._sorted[min(below + 1, len(self._sorted) - 1)]
        return high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part

    def getEnergyFeatureValue(self):
        return np.array([self._energy])

    def getRootMeanSquaredFeatureValue(self):
        return np.sqrt(self._energy / len(self._sorted))

    def getMinimumFeatureValue(self):
        return self._sorted[0]

    def getMaximumFeatureValue(self):
        return self._sorted[-1]

    def getRangeFeatureValue(self):
        return self._sorted[-1] - self._sorted[0]

    def getMeanFeatureValue(self):
        return self._sorted.mean()

    def getMedianFeatureValue(self):
        return self._sorted[(len(self._sorted) - 1) // 2 : len(self._sorted) // 2 + 1].mean()

    def get10PercentileFeatureValue(self):
        return self._percentile(10)

    def get90PercentileFeatureValue(self):
        return self._percentile(90)

    def getInterquartileRangeFeatureValue(self):
        return self._percentile(75) - self._percentile(25)

    def getMeanAbsoluteDeviationFeatureValue(self):
        return self._absolute_deviation

    def getRobustMeanAbsoluteDeviationFeatureValue(self):
        first = np.searchsorted(self._sorted, self._percentile(10), side="left")
        last = np.searchsorted(self._sorted, self._percentile(90), side="right")
        middle = self._sorted[first:last]
        return np.abs(middle - middle.mean()).mean()


def _mean(values: np.ndarray, axis: Any) -> np.ndarray:
    """``numpy.nanmean`` for the usual case that nothing is missing, a fifth of its time."""
    mean = values.mean(axis)
    return np.nanmean(values, axis) if np.isnan(mean).any() else mean


def _with_fast_mean(name: str) -> type:
    """PyRadiomics' texture class with ``_mean`` for ``numpy.nanmean``."""
    own = getFeatureClasses()[name]
    shim = types.SimpleNamespace(**{**vars(np), "nanmean": _mean})
    methods = {k: with_globals(f, numpy=shim) for k, f in vars(own).items() if k.endswith("FeatureValue")}
    return type(own.__name__, (own,), methods)


_CLASSES = {"firstorder": _FirstOrder} | {name: _with_fast_mean(name) for name in ("glcm", "glrlm")}
_SILENT = logging.getLogger("analysis_lib.extraction.fast_radiomics.silent")
_SILENT.setLevel(logging.CRITICAL + 1)


def _image_features(name: str, values: np.ndarray, region: _Region, plan: _Plan, settings: dict) -> dict[str, Any]:
    """First order and texture of one image from the intensities of the mask's voxels."""
    if not np.isfinite(values).all():
        raise ExtractionError(f"{name}: intensities inside the mask are not finite numbers")
    bins, levels = _discretise(values, settings)
    textures = any(name in _TEXTURE for name in plan.classes)
    matrices = region.matrices(bins, settings) if textures else None
    matrix = np.zeros(region.inside.shape, dtype=np.int32)
    matrix[region.inside] = bins
    result: dict[str, Any] = {}
    for class_name, features in plan.classes.items():
        if class_name.startswith("shape"):
            continue
        one = _bare(class_name, settings)
        one.coefficients |= {"grayLevels": levels, "Ng": int(levels.max())}
        one.maskArray = region.inside
        if class_name == "firstorder":
            one.pixelSpacing = region.spacing_xyz
            one.prepare(values)
            counts = np.bincount(bins)[levels].reshape(1, -1)
            one.coefficients["p_i"] = counts.astype(float) / counts.sum()
        else:
            one.imageArray = matrix
            if matrices is not None:
                use(one, matrices)
            one._initCalculation()
        result |= _values(one, name, class_name, features)
    return result


def _discretise(values: np.ndarray, settings: dict) -> tuple[np.ndarray, np.ndarray]:
    """Bin number of each voxel, from 1, and the bins that occur."""
    ends = values if settings.get("binCount") is not None else np.array([values.min(), values.max()])
    edges = imageoperations.getBinEdges(ends, **settings)
    bins = np.digitize(values, edges)
    return bins, np.flatnonzero(np.bincount(bins))


def _values(feature_class, image: str, class_name: str, features: list[str]) -> dict[str, Any]:
    out = {}
    for feature in features:
        name = f"{image}_{class_name}_{feature}"
        try:
            out[name] = getattr(feature_class, f"get{feature}FeatureValue")()
        except Exception as error:  # the same that PyRadiomics turns into NaN without a word
            raise ExtractionError(f"{name} failed: {error}") from error
    return out
