"""PyRadiomics' features to the last bit, computed many times faster, of one region or of many patients; knows no study.

``extract`` computes one region, ``feature_table`` a cohort, in parallel and resumable; parameter files are
PyRadiomics' own. ``describe`` gives the IBSI code of a feature.

>>> names = expected_names("params/features_pm.yaml")
>>> names[0], describe("original_firstorder_Entropy")["feature"]
('original_shape2D_Elongation', 'TLU2')
"""

from typing import TYPE_CHECKING

from analysis_lib.common.lazy import name_from

if TYPE_CHECKING:
    from analysis_lib.radiomics.fast_radiomics import extract
    from analysis_lib.radiomics.features import feature_names, feature_table
    from analysis_lib.radiomics.ibsi import describe
    from analysis_lib.radiomics.parameter_files import check_parameter_files
    from analysis_lib.radiomics.plan import ExtractionError, expected_names
    from analysis_lib.radiomics.workers import run_here

RADIOMICS_STAGE = "radiomics"  # of a patient who can have no radiomics, though nothing is wrong with the images

__all__ = [
    "ExtractionError",
    "RADIOMICS_STAGE",
    "check_parameter_files",
    "describe",
    "expected_names",
    "extract",
    "feature_names",
    "feature_table",
    "run_here",
]
_MODULES = {
    "ExtractionError": "plan",
    "check_parameter_files": "parameter_files",
    "describe": "ibsi",
    "expected_names": "plan",
    "extract": "fast_radiomics",
    "feature_names": "features",
    "feature_table": "features",
    "run_here": "workers",
}


def __getattr__(name: str) -> object:
    return name_from(__name__, _MODULES, name)
