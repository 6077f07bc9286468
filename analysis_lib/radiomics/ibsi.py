"""Which feature of the Image Biomarker Standardisation Initiative a PyRadiomics feature is.

Codes are the manual's permanent identifiers: Zwanenburg et al., Image biomarker standardisation initiative reference
manual, v11, arXiv 1612.07003, and for filters Depeursinge et al., arXiv 2006.05470.
"""

from __future__ import annotations

from analysis_lib.radiomics.names import parse

FAMILIES = {
    "shape": "HCUG", "firstorder": "UHIW", "glcm": "LFYI", "glrlm": "TP0I", "glszm": "9SAK", "gldm": "REK0",
    "ngtdm": "IPET",
}  # fmt: skip
HISTOGRAM = "ZVCW"  # intensity histogram, the family of entropy and uniformity
# Texture of 3-D matrices: one a direction with the features averaged, or a single one.
AGGREGATION = {"glcm": "ITBB", "glrlm": "ITBB", "glszm": "KOBO", "gldm": "KOBO", "ngtdm": "KOBO"}
FILTERS = {"wavelet": "25BO", "log-sigma": "L6PA"}

CODES = {
    "shape": {
        "MeshVolume": "RNU0", "VoxelVolume": "YEKZ", "SurfaceArea": "C0JK", "SurfaceVolumeRatio": "2PR5",
        "Sphericity": "QCFX", "Maximum3DDiameter": "L0JK", "MajorAxisLength": "TDIC", "MinorAxisLength": "P9VJ",
        "LeastAxisLength": "7J51", "Elongation": "Q3CK", "Flatness": "N17B",
    },
    "firstorder": {
        "Mean": "Q4LE", "Variance": "ECT3", "Skewness": "KE2A", "Kurtosis": "IPH6", "Median": "Y12H",
        "Minimum": "1GSF", "10Percentile": "QG58", "90Percentile": "8DWT", "Maximum": "84IY",
        "InterquartileRange": "SALO", "Range": "2OJQ", "MeanAbsoluteDeviation": "4FUA",
        "RobustMeanAbsoluteDeviation": "1128", "Energy": "N8CA", "RootMeanSquared": "5ZWQ", "Entropy": "TLU2",
        "Uniformity": "BJ5W",
    },
    "glcm": {
        "MaximumProbability": "GYBY", "JointAverage": "60VM", "SumSquares": "UR99", "JointEntropy": "TU9B",
        "DifferenceAverage": "TF7R", "DifferenceVariance": "D3YU", "DifferenceEntropy": "NTRS",
        "SumAverage": "ZGXS", "SumEntropy": "P6QZ", "JointEnergy": "8ZQL", "Contrast": "ACUI", "Id": "IB1Z",
        "Idn": "NDRX", "Idm": "WF0Z", "Idmn": "1QCO", "InverseVariance": "E8JP", "Correlation": "NI2N",
        "Autocorrelation": "QWB0", "ClusterTendency": "DG8W", "ClusterShade": "7NFM",
        "ClusterProminence": "AE86", "Imc1": "R8DG", "Imc2": "JN9H",
    },
    "glrlm": {
        "ShortRunEmphasis": "22OV", "LongRunEmphasis": "W4KF", "LowGrayLevelRunEmphasis": "V3SW",
        "HighGrayLevelRunEmphasis": "G3QZ", "ShortRunLowGrayLevelEmphasis": "HTZT",
        "ShortRunHighGrayLevelEmphasis": "GD3A", "LongRunLowGrayLevelEmphasis": "IVPO",
        "LongRunHighGrayLevelEmphasis": "3KUM", "GrayLevelNonUniformity": "R5YN",
        "GrayLevelNonUniformityNormalized": "OVBL", "RunLengthNonUniformity": "W92Y",
        "RunLengthNonUniformityNormalized": "IC23", "RunPercentage": "9ZK5", "GrayLevelVariance": "8CE5",
        "RunVariance": "SXLW", "RunEntropy": "HJ9O",
    },
    "glszm": {
        "SmallAreaEmphasis": "5QRC", "LargeAreaEmphasis": "48P8", "LowGrayLevelZoneEmphasis": "XMSY",
        "HighGrayLevelZoneEmphasis": "5GN9", "SmallAreaLowGrayLevelEmphasis": "5RAI",
        "SmallAreaHighGrayLevelEmphasis": "HW1V", "LargeAreaLowGrayLevelEmphasis": "YH51",
        "LargeAreaHighGrayLevelEmphasis": "J17V", "GrayLevelNonUniformity": "JNSA",
        "GrayLevelNonUniformityNormalized": "Y1RO", "SizeZoneNonUniformity": "4JP3",
        "SizeZoneNonUniformityNormalized": "VB3A", "ZonePercentage": "P30P", "GrayLevelVariance": "BYLV",
        "ZoneVariance": "3NSA", "ZoneEntropy": "GU8N",
    },
    "gldm": {
        "SmallDependenceEmphasis": "SODN", "LargeDependenceEmphasis": "IMOQ", "LowGrayLevelEmphasis": "TL9H",
        "HighGrayLevelEmphasis": "OAE7", "SmallDependenceLowGrayLevelEmphasis": "EQ3F",
        "SmallDependenceHighGrayLevelEmphasis": "JA6D", "LargeDependenceLowGrayLevelEmphasis": "NBZI",
        "LargeDependenceHighGrayLevelEmphasis": "9QMG", "GrayLevelNonUniformity": "FP8K",
        "DependenceNonUniformity": "Z87G", "DependenceNonUniformityNormalized": "OKJI",
        "GrayLevelVariance": "1PFV", "DependenceVariance": "DNX2", "DependenceEntropy": "FCBV",
    },
    "ngtdm": {
        "Coarseness": "QCDE", "Contrast": "65HE", "Busyness": "NQ30", "Complexity": "HDEZ", "Strength": "1X9X",
    },
}  # fmt: skip

_AXIS = "differs: covariance divided by n, not n - 1"
NOTES = {
    "shape_MajorAxisLength": _AXIS,
    "shape_MinorAxisLength": _AXIS,
    "shape_LeastAxisLength": _AXIS,
    "shape_Maximum2DDiameterSlice": "not in IBSI",
    "shape_Maximum2DDiameterRow": "not in IBSI",
    "shape_Maximum2DDiameterColumn": "not in IBSI",
    "firstorder_Kurtosis": "differs: IBSI's is excess kurtosis, 3 less",
    "firstorder_TotalEnergy": "not in IBSI: energy times the volume of a voxel",
    "firstorder_Entropy": "of the discretised intensities",
    "firstorder_Uniformity": "of the discretised intensities",
    "glcm_MCC": "not in IBSI: maximal correlation coefficient",
}


def describe(name: str) -> dict[str, str]:
    """IBSI's identifiers of a PyRadiomics feature ``<image>_<class>_<Feature>``; empty where there is none.

    Keys: family, feature, aggregation, filter, note (how the value differs, or why there is no code).
    """
    _, image, class_name, feature = parse(name)
    row = dict.fromkeys(("family", "feature", "aggregation", "filter", "note"), "")
    row["note"] = NOTES.get(f"{class_name}_{feature}", "")
    if class_name == "shape2D":
        return row | {"note": "IBSI's morphology is 3-D; it has no features of an outline"}
    code = CODES[class_name].get(feature)
    if code is None:
        return row
    family = HISTOGRAM if feature in ("Entropy", "Uniformity") and class_name == "firstorder" else FAMILIES[class_name]
    row |= {"family": family, "feature": code, "aggregation": AGGREGATION.get(class_name, "")}
    for prefix, filter_code in FILTERS.items():
        if image.startswith(prefix):
            row["filter"] = filter_code
    return row
