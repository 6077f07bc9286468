"""Cox models of clinical covariates alone, which a shared model's folder has, so that it can be judged beside them.

There is one for each number of leading covariates of ``statistics.adjust_for``: where the last of them is not known,
the model before does. ``export`` fits them to the training patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError, model_validator

from analysis_lib.common.settings import Section
from analysis_lib.core.parameters import Covariate
from analysis_lib.stages.predict import PredictError

FILE = "clinical_models.json"


class ClinicalModel(Section):
    """A Cox model: log hazard ratio per unit of each covariate (sex: 1 is male), and its mean in the training patients.

    ``cumulative_hazard`` : of a patient with these means, from each of ``months`` on. ``last_month`` : of the longest
    follow-up, in whole months. ``n``, ``events`` : training patients, deaths among them.
    """

    coefficients: dict[Covariate, float]
    means: dict[Covariate, float]
    months: list[float]
    cumulative_hazard: list[float]
    last_month: float
    n: int
    events: int

    @model_validator(mode="after")
    def _whole(self) -> ClinicalModel:
        steps = (
            np.array([self.months, self.cumulative_hazard]) if len(self.months) == len(self.cumulative_hazard) else None
        )
        if steps is None or (np.diff(steps, prepend=0) < 0).any() or list(self.coefficients) != list(self.means):
            raise ValueError("coefficients and means, or months and hazard, do not belong together")
        return self

    def log_risk(self, patients: pd.DataFrame) -> pd.Series:
        """Log hazard ratio against a patient with the means; NaN of whom a covariate is not known."""
        x = covariates(patients, list(self.coefficients))
        return (x - pd.Series(self.means)).mul(pd.Series(self.coefficients)).sum(axis=1, skipna=False)

    def deaths(self, log_risk: pd.Series, months: np.ndarray) -> pd.DataFrame:
        """Probability of death by each month, patients x months; NaN past the follow-up of the training patients."""
        hazard = np.r_[0.0, self.cumulative_hazard][np.searchsorted(self.months, months, side="right")]
        hazard = np.where(months > self.last_month, np.nan, hazard)
        values = -np.expm1(-np.exp(np.clip(log_risk.to_numpy(), -500, 500))[:, None] * hazard)
        return pd.DataFrame(values, log_risk.index, pd.Index(months, name="month"))


def covariates(patients: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The covariates as numbers, sex 1 for men; NaN where not known."""
    numbers = patients.assign(sex=patients["sex"].map({"M": 1.0, "F": 0.0}))
    return numbers.reindex(columns=list(names)).astype(float)


def read_models(folder: Path) -> list[ClinicalModel]:
    """The clinical models in a model's folder, whose files are as they were saved; none of one that has none."""
    if not (folder / FILE).is_file():
        return []
    try:
        return TypeAdapter(list[ClinicalModel]).validate_json((folder / FILE).read_bytes())
    except ValidationError:
        raise PredictError(f"{folder}: the clinical models in {FILE} are none; take the folder anew") from None
