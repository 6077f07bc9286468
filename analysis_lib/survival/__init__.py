"""Survival statistics and their resampling: Kaplan-Meier, Cox, C-index, AUC, calibration, Brier score; knows no study.

Times are months, events 1 or 0, and a higher risk means an earlier event. Compiled loops draw thousands of bootstrap
samples in a second; the tests compare with R, lifelines and scikit-survival.

>>> time, event, risk = [5, 8, 12, 20, 30], [1, 1, 0, 1, 0], [2.1, 1.7, 0.3, 0.9, -0.4]
>>> print(f"{c_index(time, event, risk):.3f}", kaplan_meier(time, event, confidence=0.95)["survival"].round(2).tolist())
1.000 [1.0, 0.8, 0.6, 0.6, 0.3, 0.3]
"""

from typing import TYPE_CHECKING

from analysis_lib.common.lazy import name_from

if TYPE_CHECKING:
    from analysis_lib.survival.agreement import icc_table
    from analysis_lib.survival.cox import cox_fit
    from analysis_lib.survival.evaluation import brier, calibration
    from analysis_lib.survival.survival import (
        auc_curve,
        bootstrap_c_index,
        c_index,
        cox_binary,
        kaplan_meier,
        logrank_p,
    )

__all__ = [
    "auc_curve",
    "bootstrap_c_index",
    "brier",
    "c_index",
    "calibration",
    "cox_binary",
    "cox_fit",
    "icc_table",
    "kaplan_meier",
    "logrank_p",
]
_MODULES = {
    "auc_curve": "survival",
    "bootstrap_c_index": "survival",
    "brier": "evaluation",
    "c_index": "survival",
    "calibration": "evaluation",
    "cox_binary": "survival",
    "cox_fit": "cox",
    "icc_table": "agreement",
    "kaplan_meier": "survival",
    "logrank_p": "survival",
}


def __getattr__(name: str) -> object:
    return name_from(__name__, _MODULES, name)
