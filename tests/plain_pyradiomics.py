"""What plain PyRadiomics gives, and how near the fast extractor must come to it."""

from pathlib import Path

import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor

# A feature that is the small rest of a cancellation may differ by 1e-5; everything else by 1e-6.
SMALL_REST = ("firstorder_Skewness", "firstorder_Mean", "firstorder_Median", "glcm_ClusterShade")


def plain(image: sitk.Image, mask: sitk.Image, parameter_file: Path, label: int = 1) -> dict[str, float]:
    result = RadiomicsFeatureExtractor(str(parameter_file)).execute(image, mask, label=label)
    return {name: float(value) for name, value in result.items() if not name.startswith("diagnostics_")}


def assert_same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert list(ours) == list(theirs)
    off = {}
    for name, value in theirs.items():
        limit = 1e-5 if name.endswith(SMALL_REST) else 1e-6
        if abs(ours[name] - value) > limit * abs(value) + 1e-12:
            off[name] = (ours[name], value)
    assert not off
