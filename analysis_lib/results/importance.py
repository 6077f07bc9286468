"""Which features carry the model's risk: what it loses where a group of them is permuted among the patients.

Through scaling, AutoEncoder and networks, without fitting anything again. Features that say the same stand in for each
other, so the losses of two groups do not add up, and a small loss does not mean that a group knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.feature_table import name_parts
from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import CohortParams, ImportanceParams
from analysis_lib.core.question_params import Endpoint
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.survival.resampling import c_index_replicates

KINDS = {"region": "region", "image": "image type", "class": "class"}
EVERYTHING = "all features"
COLUMNS = ["set", "kind", "group", "n_features", "n", "events", "c_index", "loss", "permutation_sd", "network_sd"]
COLUMNS += ["share_first", "note"]


def feature_groups(names: Iterable[str]) -> list[tuple[str, str, np.ndarray]]:
    """(kind, group, places of its features): all, then each region, image type and class that a name tells."""
    parts = name_parts(names)
    groups = [("all", EVERYTHING, np.arange(len(parts)))]
    for column, kind in KINDS.items():
        groups += [(kind, group, np.flatnonzero(parts[column] == group)) for group in parts[column].unique() if group]
    return groups


def importances(
    risks: Callable[[pd.DataFrame], pd.DataFrame],
    features: pd.DataFrame,
    patients: pd.DataFrame,
    cohort: CohortParams,
    params: ImportanceParams,
    seed: int,
    endpoint: Endpoint | None = None,
) -> pd.DataFrame:
    """Loss of C-index of each group of features in each test set, a row each; COLUMNS.

    risks : from features to the risk of each patient (rows) by each network (columns), whose mean counts, as
    ``model.risk_spread``. features, patients [split, time_months, event] : index patient_id. ``c_index`` is that of the
    features as they are, ``loss`` what it falls by on average over the permutations, with the SD over them;
    ``network_sd`` the SD of that mean over the networks one by one, ``share_first`` the share of the networks in which
    no group of its kind loses more.
    Source: Breiman 2001, doi:10.1023/A:1010933404324; of groups: Gregorutti 2015, doi:10.1016/j.csda.2015.04.002.
    """
    groups, rows = feature_groups(features.columns), []
    for k, name in enumerate(cohort.test_sets):
        part = patients[patients["split"] == name]
        died = int(part["event"].sum())
        head = {"set": name, "n": len(part), "events": died}
        if died < params.min_events:
            note = f"fewer than {params.min_events} {(endpoint or Endpoint()).plural}"
            rows += [
                {**head, "kind": kind, "group": group, "n_features": len(at), "note": note}
                for kind, group, at in groups
            ]
            continue
        rng = np.random.default_rng(derived_seed(seed, 17, k))
        orders = np.array([rng.permutation(len(part)) for _ in range(params.permutations)])
        own = features.loc[part.index]
        whole = _c_index(part, risks(own).to_numpy()[None])[0]
        losses = [whole - _permuted(part, risks, own, at, orders) for _, _, at in groups]
        rows += _summary(groups, losses, head | {"c_index": whole[0], "note": ""})
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def model_importances(
    model: Path, features: pd.DataFrame, patients: pd.DataFrame, *settings: object, kept: Path | None = None
) -> pd.DataFrame:
    """``importances`` of the model saved in a folder; kept for all studies that saved the same one.

    ``settings``: cohort, params, seed and endpoint, as there.
    """
    of_study = ("model.json", "SHA256SUMS")
    files = sorted(path for path in model.iterdir() if path.name not in of_study)
    return keeping(importances_of, kept)(files, features, patients[["split", "time_months", "event"]], *settings)


def importances_of(
    files: list[Path],
    features: pd.DataFrame,
    patients: pd.DataFrame,
    cohort: CohortParams,
    params: ImportanceParams,
    seed: int,
    endpoint: Endpoint,
) -> pd.DataFrame:
    """``importances`` of the model whose folder holds ``files``.

    Of the features as it scales them, which is done once: a feature is scaled alone, whoever's it is.
    """
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel  # here, because TensorFlow takes seconds to import

    model = RadiomicsSurvivalModel.load(files[0].parent)
    names = model.scaler.names
    scaled = pd.DataFrame(model.scaler.transform(features), features.index, names)[features.columns]
    risks = lambda table: pd.DataFrame(model.risks_of_scaled(table[names].to_numpy(np.float32)))  # noqa: E731
    return importances(risks, scaled, patients, cohort, params, seed, endpoint)


def _permuted(
    part: pd.DataFrame, risks: Callable, features: pd.DataFrame, at: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """C-index (permutations, 1 + networks) with the features ``at`` taken from the patients in each of ``orders``."""
    x = features.to_numpy(dtype=float)
    mixed = np.tile(x, (len(orders), 1, 1))
    mixed[:, :, at] = x[orders][:, :, at]
    table = pd.DataFrame(mixed.reshape(-1, x.shape[1]), columns=features.columns)
    return _c_index(part, risks(table).to_numpy().reshape(len(orders), len(x), -1))


def _c_index(part: pd.DataFrame, risk: np.ndarray) -> np.ndarray:
    """C-index (m, 1 + k) of risks (m, n, k): of the mean over the networks, then of each of them."""
    scores = np.concatenate([risk.mean(axis=2, keepdims=True), risk], axis=2)
    flat = scores.transpose(1, 0, 2).reshape(len(part), -1)
    once = np.ones((1, len(part)), dtype=np.uint16)
    return c_index_replicates(part["time_months"], part["event"], flat, 1, 0, counts=once).reshape(len(risk), -1)


def _summary(groups: list[tuple[str, str, np.ndarray]], losses: list[np.ndarray], common: dict) -> list[dict]:
    """A row a group, of losses (permutations, 1 + networks)."""
    each = np.array([loss.mean(axis=0)[1:] for loss in losses])  # groups x networks
    rows = []
    for (kind, group, at), loss, networks in zip(groups, losses, each, strict=True):
        same = np.array([other == kind for other, _, _ in groups])
        row = {"kind": kind, "group": group, "n_features": len(at), "loss": loss[:, 0].mean()}
        row |= {"permutation_sd": loss[:, 0].std(ddof=1)}
        row |= {"network_sd": networks.std(ddof=1) if len(networks) > 1 else np.nan}
        rows.append(common | row | {"share_first": (networks >= each[same].max(axis=0)).mean()})
    return rows
