"""Other models beside the network, fitted to the same training patients: Cox, penalised Cox, trees.

Each gives one risk a patient, higher is worse. Everything is learnt from the training patients: imputation,
scaling, and the strength of the penalty, which is chosen by cross-validation among them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sksurv.ensemble import (
    ComponentwiseGradientBoostingSurvivalAnalysis,
    GradientBoostingSurvivalAnalysis,
    RandomSurvivalForest,
)
from sksurv.linear_model import CoxnetSurvivalAnalysis
from sksurv.util import Surv

from analysis_lib.common.files import read_csv
from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import COVARIATES, ComparatorParams
from analysis_lib.coxnet.cox_ensemble import folds_by_event
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.partial_likelihood import negative_log_partial_likelihood
from analysis_lib.stages import MODEL
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit

CLINICAL = ["sex", *(name for name in COVARIATES if name != "sex")]
INDICES = ["sex", "sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu", "smi", "pmi"]
CEILING = "True risk"
OTHER = f"{MODEL} joint"
COMBINED = f"{MODEL} + linear"


def fit_comparators(
    patients: pd.DataFrame,
    features: pd.DataFrame,
    model: RadiomicsSurvivalModel,
    params: ComparatorParams,
    seed: int,
    joint: RadiomicsSurvivalModel | None = None,
    kept: Path | None = None,
    combined: RadiomicsSurvivalModel | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Risks of every patient (index patient_id, one column a model) and times (model, seconds).

    patients : as patients.parquet, index patient_id; those whose split is 'train' are learnt from, in their
    order, which is the order that ``model`` was fitted in. features : radiomics by patient_id. ``joint`` is the
    network's other option, fitted to the same patients, and ``combined`` is ``model`` with a linear partner, which has
    the ridge too. In a set that lacks a covariate altogether (``lacking``) the
    model is one fitted without it; a single missing value takes the training median. Each fit is kept in ``kept``.
    """
    train = (patients["split"] == "train").to_numpy()
    months = patients.loc[train, "time_months"].to_numpy(np.float64)
    died = patients.loc[train, "event"].to_numpy(bool)
    clinical = _covariates(patients, CLINICAL)
    indices = _covariates(patients, INDICES)
    # the training patients' risk by networks that did not learn from them, or the risk would be believed too much
    risk = model.risk(features).to_numpy().copy()
    held_out = model.ensemble.held_out_risk
    if len(held_out) == train.sum():
        risk[train] = np.where(np.isfinite(held_out), held_out, risk[train])
    z = pd.DataFrame(model.scaler.transform(features), features.index, model.scaler.names).astype(np.float64)
    code = pd.DataFrame(model.inputs(features), features.index)
    columns = {
        "Cox indices": indices,
        "Cox clinical": clinical,
        "Cox clinical + risk": clinical.assign(risk=risk),
        "Coxnet": z,
        "Random survival forest": code,
        "Gradient boosting": code,
        "Componentwise boosting": z,
    }
    fit, sets = keeping(timed_risk, kept), patients["set"].to_numpy()
    risks, seconds = {}, []
    for name, x in columns.items():
        risks[name], took = fit(name, x, train, sets, months, died, params, seed)
        seconds.append((name, took))
    if combined is not None:
        risks["Cox ridge"] = combined.risk_parts(features)["ridge"].to_numpy()
        risks[COMBINED] = combined.risk(features).to_numpy()
    if joint is not None:
        risks[OTHER] = joint.risk(features).to_numpy()
    risks["SM area"] = -patients["sm_area_cm2"].to_numpy(np.float64)
    return pd.DataFrame(risks, index=patients.index), pd.DataFrame(seconds, columns=["model", "seconds"])


def timed_risk(
    name: str,
    x: pd.DataFrame,
    train: np.ndarray,
    sets: np.ndarray,
    months: np.ndarray,
    died: np.ndarray,
    params: ComparatorParams,
    seed: int,
) -> tuple[np.ndarray, float]:
    """Risk (n,) of every patient by the model ``name`` on the columns of ``x``, and the seconds that the fit took."""
    begun = time.perf_counter()
    fit: Callable = cox_risk
    if name in OTHERS:
        fit = partial(OTHERS[name], params=params, seed=seed)
    risk = _by_what_sets_have(x, train, sets, fit, months, died)
    return risk, time.perf_counter() - begun


def ceiling(data_path: Path, patients: pd.Index) -> pd.Series:
    """True log-risk of synthetic patients from truth.csv, what no model can beat but by luck.

    Read here and nowhere else. ValueError if the file lacks a patient.
    """
    truth = read_csv(Path(data_path) / "truth.csv", dtype={"patient_id": str}).set_index("patient_id")
    if len(lacking := patients.difference(truth.index)):
        raise ValueError(f"truth.csv has no row for {lacking[0]}; make the cohort again")
    return truth["true_log_risk"].reindex(patients).rename(CEILING)


def cox_risk(x: np.ndarray, months: np.ndarray, died: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Log-risk by Cox regression on standardised columns; Firth's penalty where the plain one has no maximum,
    NaN where neither has.
    """
    mean, sd = x.mean(axis=0), x.std(axis=0)
    keep = sd > 1e-9
    x, new = (x - mean)[:, keep] / sd[keep], (new - mean)[:, keep] / sd[keep]
    for firth in (False, True):
        try:
            return new @ cox_fit(months, died, x, firth=firth).coefficients
        except (NoFiniteEstimate, np.linalg.LinAlgError):
            continue
    return np.full(len(new), np.nan)


def coxnet_risk(x, months, died, new, params: ComparatorParams, seed: int) -> np.ndarray:
    """Log-risk by the elastic net; the place on its path has the best cross-validated partial likelihood.

    Simon N et al. J Stat Softw 2011;39(5), doi 10.18637/jss.v039.i05; Verweij PJM, van Houwelingen HC.
    Stat Med 1993;12:2305, doi 10.1002/sim.4780122407.
    """

    def fit(rows: np.ndarray, alphas: np.ndarray | None) -> CoxnetSurvivalAnalysis:
        settings = {"l1_ratio": params.coxnet_l1_ratio, "max_iter": 10_000}
        path = {"alphas": alphas} if alphas is not None else {"n_alphas": 40, "alpha_min_ratio": 0.05}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the weak end of the path may not converge; it is not chosen
            return CoxnetSurvivalAnalysis(**settings, **path).fit(x[rows], Surv.from_arrays(died[rows], months[rows]))

    everybody = np.ones(len(x), bool)
    full = fit(everybody, None)
    fold = folds_by_event(died, params.folds, np.random.default_rng(seed))
    loss = np.zeros(len(full.alphas_))
    for k in range(fold.max() + 1):
        part = fit(fold != k, full.alphas_)
        for j in range(len(loss)):
            h = x @ part.coef_[:, min(j, part.coef_.shape[1] - 1)]
            loss[j] += negative_log_partial_likelihood(h, months, died)[0]
            loss[j] -= negative_log_partial_likelihood(h[fold != k], months[fold != k], died[fold != k])[0]
    return new @ full.coef_[:, loss.argmin()]


def forest_risk(x, months, died, new, params: ComparatorParams, seed: int) -> np.ndarray:
    """Expected number of events by a random survival forest (Ishwaran 2008, doi 10.1214/08-AOAS169)."""
    forest = RandomSurvivalForest(
        params.trees, min_samples_leaf=min(15, max(1, len(x) // 10)), max_features="sqrt", random_state=seed % 2**31
    )
    return forest.fit(x, Surv.from_arrays(died, months)).predict(new)


def boosting_risk(x, months, died, new, params: ComparatorParams, seed: int) -> np.ndarray:
    """Log-risk by gradient boosting of Cox's partial likelihood with small steps on half of the patients."""
    boosting = GradientBoostingSurvivalAnalysis(
        n_estimators=params.trees, learning_rate=0.05, max_depth=2, subsample=0.5, max_features="sqrt",
        random_state=seed % 2**31,
    )  # fmt: skip
    return boosting.fit(x, Surv.from_arrays(died, months)).predict(new)


def componentwise_risk(x, months, died, new, params: ComparatorParams, seed: int) -> np.ndarray:
    """Log-risk by boosting in which each small step takes one column (Binder and Schumacher 2008,
    doi 10.1186/1471-2105-9-14), by scikit-survival's defaults.
    """
    boosting = ComponentwiseGradientBoostingSurvivalAnalysis(random_state=seed % 2**31)
    return boosting.fit(x, Surv.from_arrays(died, months)).predict(new)


OTHERS = {
    "Coxnet": coxnet_risk,
    "Random survival forest": forest_risk,
    "Gradient boosting": boosting_risk,
    "Componentwise boosting": componentwise_risk,
}


def _covariates(patients: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Columns as numbers: male 1, female 0; columns that nobody has are left out."""
    x = patients.reindex(columns=names).copy()
    x["sex"] = x["sex"].map({"M": 1.0, "F": 0.0})
    return x.astype(np.float64).dropna(axis=1, how="all")


def lacking(patients: pd.DataFrame) -> dict[str, list[str]]:
    """Covariates of the models above that the training patients have and nobody of a set has, by set."""
    x = _covariates(patients, list(dict.fromkeys(CLINICAL + INDICES)))
    known = x.notna().groupby(patients["set"].to_numpy(), sort=False).any()
    known = known.loc[:, x[(patients["split"] == "train").to_numpy()].notna().any()]
    return {name: known.columns[~has].tolist() for name, has in known.iterrows() if not has.all()}


def _by_what_sets_have(
    x: pd.DataFrame, train: np.ndarray, sets: np.ndarray, fit: Callable, months: np.ndarray, died: np.ndarray
) -> np.ndarray:
    """Risk (n,) of every patient by ``fit`` on the columns that anybody of his set has; NaN where there is none."""
    x = x.loc[:, x[train].notna().any()]
    known = x.notna().groupby(sets).any()
    x = x.fillna(x[train].median())
    risk = np.full(len(x), np.nan)
    for has in np.unique(known.to_numpy(), axis=0):
        if has.any():
            columns = x.loc[:, has].to_numpy(np.float64)
            rows = np.isin(sets, known.index[(known.to_numpy() == has).all(axis=1)])
            risk[rows] = fit(columns[train], months, died, columns)[rows]
    return risk
