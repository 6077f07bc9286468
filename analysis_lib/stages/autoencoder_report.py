"""How good the code of the AutoEncoder is, and whether one joint network would do better than two steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.feature_table import name_parts
from analysis_lib.common.keep import keeping
from analysis_lib.common.pool import map_patients
from analysis_lib.coxnet.autoencoder import explained_variance, pca_explained_variance
from analysis_lib.coxnet.cox_ensemble import folds_by_event
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.survival.survival import c_index

OPTIONS = {"two steps": False, "joint": True}


def reconstruction(model: RadiomicsSurvivalModel, features: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """Mean squared reconstruction error of each feature in each split, in its training SDs squared.

    features : by patient_id; split : the name of each patient's split, in their order. Returns feature, region
    (sm or pm), image (original, a wavelet sub-band, a LoG) and one column a split; empty for a joint model, which
    keeps no decoder.
    """
    names = model.scaler.names
    table = name_parts(names)[["region", "image"]]
    table.insert(0, "feature", names)
    if model.autoencoder is None:
        return table.iloc[:0]
    z = model.scaler.transform(features)
    for name in dict.fromkeys(split):
        table[name] = model.autoencoder.reconstruction_error(z[(split == name).to_numpy()])
    return table


def explained(model: RadiomicsSurvivalModel, features: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """Share of the variance of the scaled features that the code keeps in each split, beside as many principal
    components of the training patients: split, n, autoencoder, pca.
    """
    z = model.scaler.transform(features)
    if model.autoencoder is None:
        return pd.DataFrame(columns=["split", "n", "autoencoder", "pca"])
    size = model.autoencoder.encode(z[:1]).shape[1]
    train = z[(split == "train").to_numpy()]
    rows = []
    for name in dict.fromkeys(split):
        part = z[(split == name).to_numpy()]
        kept = explained_variance(part, model.autoencoder.reconstruct(part))
        rows.append((name, len(part), kept, pca_explained_variance(train, part, size)))
    return pd.DataFrame(rows, columns=["split", "n", "autoencoder", "pca"])


def code_and_care(model: RadiomicsSurvivalModel, features: pd.DataFrame) -> pd.DataFrame:
    """Variables of the code that are worth nothing and features that needed care, as counts: index what, value, of."""
    codes, care = model.code_report(features), model.scaler.report()
    rows = [
        ("variables of the code that are constant", codes["constant"].sum(), len(codes)),
        ("variables that are copies of another", (codes["copy_of"] >= 0).sum(), len(codes)),
        ("features that are constant", care["constant"].sum(), len(care)),
        ("features with missing values", (care["n_missing"] > 0).sum(), len(care)),
        ("features with an outlier that was clipped", (care["n_clipped"] > 0).sum(), len(care)),
    ]
    table = pd.DataFrame(rows, columns=["what", "value", "of"]).astype({"value": float})
    largest = codes["max_abs_correlation"].max()
    table.loc[len(table)] = ["largest correlation of two variables of the code", round(float(largest), 2), np.nan]
    return table.set_index("what")


def compare_joint(
    features: pd.DataFrame,
    time_months: pd.Series,
    event: pd.Series,
    autoencoder: AutoEncoderParams,
    network: NetworkParams,
    seed: int,
    folder: Path,
    workers: int = 1,
    quiet: bool = False,
    strata: pd.Series | None = None,
) -> pd.DataFrame:
    """Cross-validated C-index of the two-step and the joint model within the patients given: option, fold, n,
    events, c_index. Both see the same folds. A fit is kept in ``folder``.
    """
    died = event.to_numpy(bool)
    fold = folds_by_event(died, autoencoder.compare_folds, np.random.default_rng(derived_seed(seed, 12)))
    strata = np.zeros(len(died), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    data = features, time_months, died, strata
    jobs = [(*data, fold, k, name, autoencoder, network, seed) for name in OPTIONS for k in range(fold.max() + 1)]
    compared = keeping(joint_or_not, folder)
    rows = map_patients(compared, jobs, workers=workers, label="two steps or joint", quiet=quiet, unit="fit")
    return pd.DataFrame(rows)


def joint_or_not(
    features: pd.DataFrame,
    time_months: pd.Series,
    died: np.ndarray,
    strata: np.ndarray,
    fold: np.ndarray,
    k: int,
    name: str,
    autoencoder: AutoEncoderParams,
    network: NetworkParams,
    seed: int,
) -> dict:
    """One row of ``compare_joint``: the option ``name`` of OPTIONS, tested on fold ``k`` (0, 1, ...)."""
    test, params = fold == k, autoencoder.model_copy(update={"joint": OPTIONS[name]})
    fitted = RadiomicsSurvivalModel.fit(
        features[~test], time_months[~test], died[~test], params, network, derived_seed(seed, 13, k), strata[~test]
    )
    row = {"option": name, "fold": k + 1, "n": int(test.sum()), "events": int(died[test].sum())}
    value = c_index(time_months[test], died[test], fitted.risk(features[test])) if died[test].any() else np.nan
    return row | {"c_index": None if np.isnan(value) else float(value)}
