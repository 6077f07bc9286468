"""What IBSI's tables call the features: one region's values by IBSI's tags, and how they stand to published ones.

    python benchmarks/ibsi_values.py --patients FOLDER --submitted TABLE.csv [--out TABLE.csv]

compares the IBSI validation cohort with what a team submitted. FOLDER holds a folder a patient with CT/image (DICOM)
and CT/mask (RTSTRUCT); TABLE.csv has the columns tag, id, value. Printed are the shares of values that are equal to
1e-6 and to 1e-3, by class; --out takes every value, ours beside theirs. benchmarks/ibsi/cohort.yaml holds the settings.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import analysis_lib  # noqa: F401  # isort: skip  # before numpy
import numpy as np
import pandas as pd
import SimpleITK as sitk

from analysis_lib.radiomics import extract
from analysis_lib.radiomics.plan import read_plan
from analysis_lib.radiomics.processing import process
from analysis_lib.stages.cases import load_case

SETTINGS = Path(__file__).parent / "ibsi"
# IBSI's tags by PyRadiomics' names; of texture without the ending that names the aggregation.
TAGS = {
    "shape": {
        "MeshVolume": "volume", "VoxelVolume": "vol_approx", "SurfaceArea": "area_mesh", "SurfaceVolumeRatio": "av",
        "Sphericity": "sphericity", "Maximum3DDiameter": "diam", "MajorAxisLength": "pca_maj_axis",
        "MinorAxisLength": "pca_min_axis", "LeastAxisLength": "pca_least_axis", "Elongation": "pca_elongation",
        "Flatness": "pca_flatness",
    },
    "firstorder": {
        "Mean": "mean", "Variance": "var", "Skewness": "skew", "Kurtosis": "kurt", "Median": "median", "Minimum": "min",
        "10Percentile": "p10", "90Percentile": "p90", "Maximum": "max", "InterquartileRange": "iqr", "Range": "range",
        "MeanAbsoluteDeviation": "mad", "RobustMeanAbsoluteDeviation": "rmad", "Energy": "energy",
        "RootMeanSquared": "rms", "Entropy": "ih_entropy", "Uniformity": "ih_uniformity",
    },
    "glcm": {
        "MaximumProbability": "joint_max", "JointAverage": "joint_avg", "SumSquares": "joint_var",
        "JointEntropy": "joint_entr", "DifferenceAverage": "diff_avg", "DifferenceVariance": "diff_var",
        "DifferenceEntropy": "diff_entr", "SumAverage": "sum_avg", "SumEntropy": "sum_entr", "JointEnergy": "energy",
        "Contrast": "contrast", "Id": "inv_diff", "Idn": "inv_diff_norm", "Idm": "inv_diff_mom",
        "Idmn": "inv_diff_mom_norm", "InverseVariance": "inv_var", "Correlation": "corr",
        "Autocorrelation": "auto_corr", "ClusterTendency": "clust_tend", "ClusterShade": "clust_shade",
        "ClusterProminence": "clust_prom", "Imc1": "info_corr1", "Imc2": "info_corr2",
    },
    "glrlm": {
        "ShortRunEmphasis": "sre", "LongRunEmphasis": "lre", "LowGrayLevelRunEmphasis": "lgre",
        "HighGrayLevelRunEmphasis": "hgre", "ShortRunLowGrayLevelEmphasis": "srlge",
        "ShortRunHighGrayLevelEmphasis": "srhge", "LongRunLowGrayLevelEmphasis": "lrlge",
        "LongRunHighGrayLevelEmphasis": "lrhge", "GrayLevelNonUniformity": "glnu",
        "GrayLevelNonUniformityNormalized": "glnu_norm", "RunLengthNonUniformity": "rlnu",
        "RunLengthNonUniformityNormalized": "rlnu_norm", "RunPercentage": "r_perc", "GrayLevelVariance": "gl_var",
        "RunVariance": "rl_var", "RunEntropy": "rl_entr",
    },
    "glszm": {
        "SmallAreaEmphasis": "sze", "LargeAreaEmphasis": "lze", "LowGrayLevelZoneEmphasis": "lgze",
        "HighGrayLevelZoneEmphasis": "hgze", "SmallAreaLowGrayLevelEmphasis": "szlge",
        "SmallAreaHighGrayLevelEmphasis": "szhge", "LargeAreaLowGrayLevelEmphasis": "lzlge",
        "LargeAreaHighGrayLevelEmphasis": "lzhge", "GrayLevelNonUniformity": "glnu",
        "GrayLevelNonUniformityNormalized": "glnu_norm", "SizeZoneNonUniformity": "zsnu",
        "SizeZoneNonUniformityNormalized": "zsnu_norm", "ZonePercentage": "z_perc", "GrayLevelVariance": "gl_var",
        "ZoneVariance": "zs_var", "ZoneEntropy": "zs_entr",
    },
    "gldm": {
        "SmallDependenceEmphasis": "lde", "LargeDependenceEmphasis": "hde", "LowGrayLevelEmphasis": "lgce",
        "HighGrayLevelEmphasis": "hgce", "SmallDependenceLowGrayLevelEmphasis": "ldlge",
        "SmallDependenceHighGrayLevelEmphasis": "ldhge", "LargeDependenceLowGrayLevelEmphasis": "hdlge",
        "LargeDependenceHighGrayLevelEmphasis": "hdhge", "GrayLevelNonUniformity": "glnu",
        "DependenceNonUniformity": "dcnu", "DependenceNonUniformityNormalized": "dcnu_norm",
        "GrayLevelVariance": "gl_var", "DependenceVariance": "dc_var", "DependenceEntropy": "dc_entr",
    },
    "ngtdm": {
        "Coarseness": "coarseness", "Contrast": "contrast", "Busyness": "busyness", "Complexity": "complexity",
        "Strength": "strength",
    },
}  # fmt: skip
PREFIXES = {
    "shape": "morph", "firstorder": "stat", "glcm": "cm", "glrlm": "rlm", "glszm": "szm", "gldm": "ngl", "ngtdm": "ngt",
}  # fmt: skip
# What PyRadiomics defines otherwise, or has no more because another says the same: from which tag, and how.
DERIVED = {
    "stat_kurt": ("stat_kurt", lambda value: value - 3),
    "morph_comp_1": ("morph_sphericity", lambda value: value**1.5 / (6 * np.pi)),
    "morph_comp_2": ("morph_sphericity", lambda value: value**3),
    "morph_sph_dispr": ("morph_sphericity", lambda value: 1 / value),
    "cm_dissimilarity_{}": ("cm_diff_avg_{}", float),
    "cm_sum_var_{}": ("cm_clust_tend_{}", float),
    "ngl_glnu_norm_{}": ("ih_uniformity", float),
}


def ibsi_values(image: sitk.Image, mask: sitk.Image, parameter_file: Path) -> dict[str, float]:
    """Features and, where the file has a section ``ibsi``, diagnostics of one region by IBSI's tags.

    Texture matrices are those of IBSI's aggregation 3D_avg, of ``weightingNorm: no_weighting`` 3D_comb, and with
    ``force2D`` 2_5D_avg and 2_5D_comb. Kurtosis is excess kurtosis, 3 less than PyRadiomics'.
    """
    plan = read_plan(parameter_file)
    space = "2_5D" if plan.settings["force2D"] else "3D"
    merged = f"{space}_{'comb' if plan.settings.get('weightingNorm') else 'avg'}"
    ending = {"glcm": merged, "glrlm": merged, "glszm": space, "gldm": space, "ngtdm": space}
    out = diagnostics(image, mask, parameter_file) if plan.ibsi is not None else {}
    for name, value in extract(image, mask, parameter_file, label=1).items():
        _, class_name, feature = name.split("_")
        if tag := TAGS[class_name].get(feature):
            tag = tag if tag.startswith("ih_") else f"{PREFIXES[class_name]}_{tag}"
            out["_".join(filter(None, (tag, ending.get(class_name))))] = value
    for tag, (known, convert) in DERIVED.items():
        if known.format(merged) in out:
            out[tag.format(merged if tag.startswith("cm_") else space)] = convert(out[known.format(merged)])
    return out


def diagnostics(image: sitk.Image, mask: sitk.Image, parameter_file: Path) -> dict[str, float]:
    """Sizes and intensities of image and masks as given, resampled and resegmented, by IBSI's tags."""
    plan = read_plan(parameter_file)
    resampled, shape, inside = process(image, mask, 1, plan.settings, plan.ibsi)
    out: dict[str, float] = {}
    for stage, picture in (("init", image), ("interp", resampled)):
        values = sitk.GetArrayViewFromImage(picture)
        for axis, size, spacing in zip("xyz", picture.GetSize(), picture.GetSpacing(), strict=True):
            out |= {f"img_dim_{axis}_{stage}_img": size, f"vox_dim_{axis}_{stage}_img": spacing}
        out |= {f"{name}_int_{stage}_img": v for name, v in _intensities(values).items()}
    for stage, picture, morphological, intensity in (
        ("init", image, mask, mask),
        ("interp", resampled, shape, shape),
        ("reseg", resampled, shape, inside),
    ):
        for kind, region in (("int", intensity), ("morph", morphological)):
            voxels = sitk.GetArrayViewFromImage(region) > 0
            where = np.argwhere(voxels)
            box = (where.max(axis=0) - where.min(axis=0) + 1)[::-1]
            for axis, size, length in zip("xyz", region.GetSize(), box, strict=True):
                out[f"{kind}_mask_bb_dim_{axis}_{stage}_roi"] = length
                if kind == "int":
                    out[f"int_mask_dim_{axis}_{stage}_roi"] = size
            out[f"{kind}_mask_vox_count_{stage}_roi"] = len(where)
            if kind == "int":
                values = sitk.GetArrayViewFromImage(picture)[voxels]
                out |= {f"int_mask_{name}_int_{stage}_roi": v for name, v in _intensities(values).items()}
    return {tag: float(value) for tag, value in out.items()}


def _intensities(values: np.ndarray) -> dict[str, float]:
    return {"mean": values.mean(dtype=float), "min": values.min(), "max": values.max()}


# --- the validation cohort -----------------------------------------------------------------------------------------


def cohort_values(patients: Path, ids: list[str], parameter_file: Path = SETTINGS / "cohort.yaml") -> pd.DataFrame:
    """Ours of each patient, columns id, tag, ours; read from DICOM and RTSTRUCT as a study reads them.

    A patient who cannot be read has no rows, and the reason goes to standard error.
    """
    rows = []
    for name in ids:
        folder = patients / name / "CT"
        try:
            image, mask = load_case({"Image": str(folder / "image"), "Mask": str(folder / "mask")})
            for picture in (image, mask):  # theirs were NIfTI files, which keep the spacing in single precision
                picture.SetSpacing([float(np.float32(length)) for length in picture.GetSpacing()])
            rows += [(name, tag, value) for tag, value in ibsi_values(image, mask, parameter_file).items()]
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return pd.DataFrame(rows, columns=["id", "tag", "ours"])


def compared(submitted: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Values that were submitted (tag, id, value), with ours (NaN where there is none), difference and family."""
    both = submitted.dropna(subset=["value"]).merge(ours, on=["id", "tag"], how="left", validate="1:1")
    scale = np.maximum(both["value"].abs(), 1e-300)
    both["difference"] = ((both["ours"] - both["value"]).abs() / scale).where(both["ours"] != both["value"], 0.0)
    both["family"] = both["tag"].map(family)
    return both


def family(tag: str) -> str:
    """Class of PyRadiomics that computes what IBSI's ``tag`` names; diagnostics for images and masks."""
    names = {prefix: class_name for class_name, prefix in PREFIXES.items()} | {"ih": "firstorder"}
    return "diagnostics" if "_mask_" in tag else names.get(tag.split("_")[0], "diagnostics")


def shares(both: pd.DataFrame) -> pd.DataFrame:
    """Of each family, and of all: values, and the share of them equal to 1e-6 and to 1e-3."""
    parts = {name: both[both["family"] == name] for name in ("diagnostics", *TAGS)} | {"all": both}
    rows = [(n, len(p), (p["difference"] <= 1e-6).mean(), (p["difference"] <= 1e-3).mean()) for n, p in parts.items()]
    return pd.DataFrame(rows, columns=["family", "values", "equal_1e-6", "equal_1e-3"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=Path, required=True, help="folder of the patients")
    parser.add_argument("--submitted", type=Path, required=True, help="table with the columns tag, id, value")
    parser.add_argument("--out", type=Path, help="table of every value, ours beside theirs")
    arguments = parser.parse_args()
    submitted = pd.read_csv(arguments.submitted)
    ids = sorted(folder.name for folder in arguments.patients.iterdir() if folder.name in set(submitted["id"]))
    ours = cohort_values(arguments.patients, ids)
    both = compared(submitted[submitted["id"].isin(ids)], ours)
    if arguments.out:
        both.to_csv(arguments.out, index=False)
    print(f"{ours['id'].nunique()} of {len(ids)} patients were read")
    print(shares(both).to_string(index=False, float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
