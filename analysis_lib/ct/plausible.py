"""Whether what was read can be a human CT with its muscles: values, sizes, and the slices of a mask.

A file may be whole and well formed and still hold something else. What no CT can be is refused with the reason. What is
in doubt has a note, and no number that the doubt concerns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis_lib.ct.geometry import Geometry, ImageError

# HU of a picture through the body: from air (-1000) or at least fat (-100) to bone (above 200).
NARROWEST_HU = 250  # from the lowest to the highest value of a slice, of which fat to bone has more
FAT_HU = -50  # no slice through a body lies wholly above this
MUSCLE_HU = (-50.0, 150.0)  # median of a muscle's outline, from fatty to strongly enhanced
AIR_HU = (-850.0, -300.0)  # a dark part of the picture that is neither air nor tissue
DARK_SHARE = 0.05  # of the picture: outside of the body, not gas in the bowel
CUT_SHARE = 0.9  # of the dark part, where values were cut at a lowest one
LEAST_MUSCLE = 0.02  # of an outline within its window
# Sizes beyond every human, with room for the largest.
PIXEL_MM = (0.1, 8.0)
LARGEST_CM2 = {"sm": 600.0, "pm": 150.0}
# A muscle at L3 changes little from slice to slice; where a mask has few slices, one with far less is a slip.
FEW_SLICES = 10
SMALL_SHARE = 0.25  # of the median of the occupied slices
NARROW_SHARE = 0.6  # of the widest slice, from side to side
OVERLAP = 0.05  # of the smaller of two slices, laid on each other


def check_pixels(geometry: Geometry) -> None:
    """Raise ImageError where a pixel is smaller or larger than any CT's."""
    if not PIXEL_MM[0] <= min(geometry.spacing[:2]) or not max(geometry.spacing[:2]) <= PIXEL_MM[1]:
        x, y = geometry.spacing[:2]
        raise ImageError(
            f"pixels of {x:.4g} x {y:.4g} mm are no human CT's ({PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm); the header may "
            "give another unit: export or convert the CT again with lengths in mm"
        )


def check_area(muscle: str, area_cm2: float) -> None:
    """Raise ImageError where an area is beyond any human's; ``muscle`` is sm or pm."""
    if area_cm2 > LARGEST_CM2[muscle]:
        raise ImageError(
            f"the {muscle.upper()} has {area_cm2:.0f} cm2, more than any human's ({LARGEST_CM2[muscle]:g} cm2); check "
            "the mask and the pixel spacing of the CT"
        )


def doubts_of_hu(
    hounsfield: np.ndarray, masks: Mapping[str, np.ndarray], windows: Mapping[str, tuple[float, float] | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes on the values of a CT, and why they may be no HU, judged by air, fat, bone and muscle in the picture.

    ``hounsfield`` and each of ``masks`` ("sm", "pm") are (slice, row, column) arrays of the slices that count;
    ``windows`` are the HU of each that count. Raises ImageError where the values can be no HU.
    """
    low, high = float(hounsfield.min()), float(hounsfield.max())
    if low == high:
        raise ImageError("the CT slice of the mask holds a single value; export the series again")
    if high - low < NARROWEST_HU:
        raise ImageError(
            f"the values of the CT are no HU: on the mask's slices they lie between {low:.4g} and {high:.4g}, and fat "
            "to bone alone span more (a normalised image, or a map of another quantity?); export the original CT"
        )
    doubts = []
    if low > FAT_HU:
        doubts.append(f"no value on the mask's slices lies below {low:.4g} HU, neither air nor fat: are these HU?")
    for key, mask in masks.items():
        inside = hounsfield[mask]
        middle, window = float(np.median(inside)), windows.get(key)
        if window is None and not MUSCLE_HU[0] <= middle <= MUSCLE_HU[1]:
            doubts.append(f"the median of the {key.upper()} is {middle:.4g} HU, which no muscle has: are these HU?")
        elif window is not None and ((inside >= window[0]) & (inside <= window[1])).mean() < LEAST_MUSCLE:
            doubts.append(f"hardly a pixel of the {key.upper()} has HU of muscle (median {middle:.4g}): are these HU?")
    dark, notes = hounsfield < AIR_HU[1], []
    for key, mask in masks.items():
        if (air := dark[mask].mean()) > DARK_SHARE:
            notes.append(f"{air:.0%} of the {key.upper()} is air or gas: does the mask fit the CT?")
    if low > AIR_HU[0] and dark.mean() > DARK_SHARE:
        if (hounsfield[dark] == low).mean() > CUT_SHARE:
            notes.append(
                f"no value on the mask's slices lies below {low:.4g} HU: were they cut there, or are they no HU?"
            )
        else:
            doubts.append(f"the darkest value on the mask's slices is {low:.4g} HU and not air's -1000: are these HU?")
    return tuple(notes), tuple(doubts)


def check_slices(muscle: str, mask: np.ndarray) -> tuple[str, ...]:
    """Notes on the slices of one muscle's mask (slice, row, column), of which the areas are a mean.

    Raises ImageError where, of few slices, one has far fewer pixels than the others (a slip of the brush), two have no
    part in common (halves of the muscle on different slices), or one has one side alone: the mean would be a fraction
    of the area.
    """
    counts = mask.sum(axis=(1, 2))
    occupied = np.flatnonzero(counts)
    if len(occupied) < 2:
        return ()
    usual = float(np.median(counts[occupied])) if len(occupied) > 2 else float(counts.max())
    small = [k for k in occupied.tolist() if counts[k] < SMALL_SHARE * usual]
    if small:
        shown = ", ".join(f"slice {k} ({counts[k]} pixels)" for k in small[:5]) + " ..." * (len(small) > 5)
        text = f"the {muscle.upper()} has far fewer pixels on {shown} than on its other slices (median {usual:.0f})"
        if len(occupied) <= FEW_SLICES:
            raise ImageError(
                f"{text}, and the area is their mean (0 = most caudal); erase the stray pixels, or choose one slice "
                "with l3_slice"
            )
        return (f"{text}: choose one slice with l3_slice?",)
    if len(occupied) <= FEW_SLICES:
        for one, other in zip(occupied[:-1].tolist(), occupied[1:].tolist(), strict=True):
            common = int((mask[one] & mask[other]).sum())
            if common < OVERLAP * min(counts[one], counts[other]):
                raise ImageError(
                    f"the {muscle.upper()} on slice {one} and on slice {other} have no part in common (0 = most "
                    "caudal), as halves of the muscle on different slices, and the area is their mean; draw the whole "
                    "muscle on each slice"
                )
        widths = {k: float(np.ptp(np.quantile(np.nonzero(mask[k])[1], [0.01, 0.99]))) for k in occupied.tolist()}
        narrow = min(widths, key=lambda k: widths[k])
        if widths[narrow] < NARROW_SHARE * max(widths.values()):
            raise ImageError(
                f"the {muscle.upper()} on slice {narrow} is {widths[narrow] / max(widths.values()):.0%} as wide as on "
                "others (0 = most caudal), as where one side is not drawn, and the area is their mean; draw the whole "
                "muscle on each slice, or choose one slice with l3_slice"
            )
    return ()


def check_parts(muscle: str, names: Sequence[str], slices: Sequence[Sequence[int]], counted: Sequence[int]) -> str:
    """A note on parts of a muscle that do not lie on the same slices; "" where all lie on all that count.

    ``slices`` are those of each part of ``names``, ``counted`` those that count. Raises ImageError where they are few.
    """
    lacking = [(name, sorted(set(counted) - set(mine))) for name, mine in zip(names, slices, strict=True)]
    lacking = [(name, missing) for name, missing in lacking if missing]
    if not lacking:
        return ""
    name, missing = lacking[0]
    shown = ", ".join(map(str, missing[:5])) + " ..." * (len(missing) > 5)
    text = f"the part '{name}' of the {muscle.upper()} is not drawn on slice {shown}, where the others are"
    if len(counted) <= FEW_SLICES:
        raise ImageError(f"{text} (0 = most caudal); draw all parts on the same slices")
    return text
