"""Disturbed copies of an image and its masks, to see which features repeat themselves, and which tell only size.

After Zwanenburg et al. 2019, Assessing robustness of radiomic features by image perturbation, doi
10.1038/s41598-018-36938-4; controls after Welch et al. 2019, Vulnerabilities of radiomic signature development,
doi 10.1016/j.radonc.2018.10.027.
"""

from __future__ import annotations

import hashlib

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, gaussian_filter

MASK_VARIANTS = ("eroded", "dilated", "contour")
CONTROLS = ("shuffled", "moved")
_CONTOUR_WIDTH_PX = 4.0  # a hand that strays does so over some pixels, not pixel by pixel


def perturb(
    image: sitk.Image,
    masks: dict[str, sitk.Image],
    variant: str,
    key: str,
    noise_hu: float,
    contour_px: float,
    moved_mm: float,
) -> tuple[sitk.Image, dict[str, sitk.Image]]:
    """Image and masks of one variant: 'original', 'noise', one of MASK_VARIANTS or of CONTROLS.

    key: text that the random numbers depend on, as the patient's name and the study's seed; noise_hu: SD of the
    noise added to the image; contour_px: SD of the contour's displacement; moved_mm: how far the region is moved
    backwards (towards +y) in the plane. Raises ValueError where nothing is left of a region.
    """
    voxels = sitk.GetArrayFromImage(image)
    inside = {roi: sitk.GetArrayFromImage(mask) == 1 for roi, mask in masks.items()}
    random = {roi: _generator(key, variant, roi) for roi in inside}
    if variant == "noise":
        noisy = voxels + _generator(key, variant).normal(0, noise_hu, voxels.shape)
        voxels = np.rint(noisy).astype(voxels.dtype) if voxels.dtype.kind == "i" else noisy.astype(voxels.dtype)
    elif variant == "shuffled":
        taken = np.zeros(voxels.shape, bool)
        # the psoas lies within all muscle: each is permuted in itself, so that both keep their own intensities
        for roi in sorted(inside, key=lambda roi: (inside[roi].sum(), roi)):
            part = inside[roi] & ~taken
            voxels[part] = random[roi].permutation(voxels[part])
            taken |= part
    elif variant == "moved":
        pixels = round(moved_mm / image.GetSpacing()[1])
        inside = {roi: _moved(mask, pixels) for roi, mask in inside.items()}
    elif variant in MASK_VARIANTS:
        inside = {roi: _reshaped(mask, variant, random[roi], contour_px) for roi, mask in inside.items()}
    elif variant != "original":
        raise ValueError(f"no variant '{variant}'")
    if gone := [roi for roi, mask in inside.items() if not mask.any()]:
        raise ValueError(f"nothing is left of {', '.join(roi.upper() for roi in gone)} when {variant}")
    return _like(voxels, image), {roi: _like(mask.astype(np.uint8), image) for roi, mask in inside.items()}


def _reshaped(mask: np.ndarray, variant: str, random: np.random.Generator, contour_px: float) -> np.ndarray:
    out = np.zeros_like(mask)
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = mask[z]
        if variant == "eroded":
            out[z] = binary_erosion(plane)
        elif variant == "dilated":
            out[z] = binary_dilation(plane)
        else:
            outside_px = distance_transform_edt(~plane) - distance_transform_edt(plane)
            outside_px += np.where(plane, 0.5, -0.5)  # zero lies between the pixels
            field = gaussian_filter(random.normal(size=plane.shape), _CONTOUR_WIDTH_PX)
            out[z] = outside_px < field * (contour_px / field.std())
    return out


def _moved(mask: np.ndarray, pixels: int) -> np.ndarray:
    out = np.zeros_like(mask)
    out[:, pixels:] = mask[:, : mask.shape[1] - pixels]
    if out.sum() != mask.sum():
        raise ValueError(f"moved by {pixels} pixels the region leaves the image; choose a smaller stability.moved_mm")
    return out


def _generator(*key: str) -> np.random.Generator:
    digest = hashlib.blake2b("\0".join(key).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    out = sitk.GetImageFromArray(array)
    out.CopyInformation(image)
    return out
