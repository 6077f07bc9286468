"""The model fitted again to other patients: what the resampling of the pipeline and the multiverse keep.

Apart from what asks for the fits and sums them up, so that the results kept depend on no more code than fits them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.cohort.cohort import split_patients, strata_of
from analysis_lib.core.parameters import CohortParams
from analysis_lib.coxnet.cutoff import high_risk
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.survival.combat import Combat, fit_where_possible
from analysis_lib.survival.survival import c_index, cox_binary

KINDS = ("split", "bootstrap", "permuted")
TESTED = "bootstrap, test set"  # the fits to bootstrap samples once more, in each test set
COLUMNS = [
    "kind",
    "replicate",
    "set",
    "n_train",
    "n_test",
    "events_test",
    "c_index_train",
    "c_index",
    "c_index_left_out",
    "hr",
]


BATCH = "harmonised_by"  # column of the patients' batch, where features are made alike over them


def _alike(patients: pd.DataFrame, features: pd.DataFrame, train: np.ndarray) -> Combat | None:
    """ComBat of the patients at ``train`` (positions, some perhaps twice); None where nobody asks, or too few are."""
    return fit_where_possible(features.iloc[train], patients[BATCH].iloc[train]) if BATCH in patients else None


def used_columns(network: NetworkParams) -> list[str]:
    """What the functions here use of patients.parquet."""
    return ["patient_id", "set", "time_months", "event"] + ([] if network.strata == "none" else [network.strata])


def one_replicate(
    patients: pd.DataFrame,
    features: pd.DataFrame,
    cohort: CohortParams,
    autoencoder: AutoEncoderParams,
    network: NetworkParams,
    seed: int,
    kind: str,
    replicate: int,
) -> list[dict]:
    """Fit and test once, as ``optimism`` tells; dictionaries of COLUMNS, of a bootstrap sample one more a test set.

    patients : ``used_columns`` and split, with BATCH where features are to be made alike over it, learnt anew of each
    replicate's training patients. features : in their order, as extracted. seed : the study's. ``hr`` compares the risk
    groups at the median of the training risks in the tested patients. None where the tested patients cannot tell.
    """
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel  # here, because TensorFlow takes seconds to import

    seed = derived_seed(seed, 11, KINDS.index(kind), replicate)
    rng = np.random.default_rng(seed)
    trained = patients["set"].isin(cohort.trained).to_numpy()
    everybody, all_features = patients, features
    patients, features = patients[trained].reset_index(drop=True), features[trained]
    months, died = (patients[c].to_numpy(np.float64) for c in ("time_months", "event"))
    if kind == "bootstrap":
        test = np.flatnonzero(patients["split"] == "train")
        train = rng.choice(test, len(test))
    else:
        if kind == "permuted":
            order = rng.permutation(len(patients))
            months, died = months[order], died[order]
            patients = patients.assign(event=died)  # a split by event goes by the dealt outcome
        part = split_patients(patients, cohort, seed)
        train, test = np.flatnonzero(part == "train"), np.flatnonzero(part == "internal")
    row = {"kind": kind, "replicate": replicate, "set": "train" if kind == "bootstrap" else "internal"}
    row |= {"n_train": len(train), "n_test": len(test), "events_test": int(died[test].sum())}
    row |= dict.fromkeys(COLUMNS[6:])
    if not died[train].any() or not died[test].any():
        return [row]
    if combat := _alike(patients, features, train):
        features = combat.transform(features, patients[BATCH])
        all_features = combat.transform(all_features, everybody[BATCH])
    x = features.iloc[train].set_axis([f"{i}" for i in range(len(train))], axis=0)  # a bootstrap repeats patients
    strata = strata_of(patients, network)
    strata = None if strata is None else strata.to_numpy()[train]
    fitted = RadiomicsSurvivalModel.fit(
        x, months[train], died[train], autoencoder, network, derived_seed(seed, 1), strata
    )
    new = np.setdiff1d(test, train)  # all of them but in a bootstrap sample
    risk_train, risk = fitted.risk(x).to_numpy(), fitted.risk(features.iloc[test]).to_numpy()
    groups = cox_binary(months[test], died[test], high_risk(risk, fitted.cutoff), 0.95)
    row |= {
        "c_index_train": float(c_index(months[train], died[train], risk_train)),
        "c_index": float(c_index(months[test], died[test], risk)),
        "c_index_left_out": _known(c_index(months[new], died[new], risk[np.isin(test, new)])),
        "hr": _known(groups["hr"]),
    }
    if kind != "bootstrap":
        return [row]
    rows, whole = [row], fitted.risk(all_features).to_numpy()
    for name, part in everybody[everybody["split"] != "train"].groupby("split", sort=False):
        found = _known(c_index(part["time_months"], part["event"], whole[(everybody["split"] == name).to_numpy()]))
        sizes = {"n_train": len(train), "n_test": len(part), "events_test": int(part["event"].sum())}
        rows.append(
            dict.fromkeys(COLUMNS) | {"kind": TESTED, "replicate": replicate, "set": name, "c_index": found} | sizes
        )
    return rows


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def refitted(
    patients: pd.DataFrame,
    features: pd.DataFrame,
    cohort: CohortParams,
    autoencoder: AutoEncoderParams,
    network: NetworkParams,
    seed: int,
) -> pd.DataFrame:
    """The model of the split that ``seed`` draws: patient_id, split and risk of every patient.

    patients : ``used_columns``, with BATCH as in ``one_replicate``. features : by patient_id, as extracted.
    """
    from analysis_lib.coxnet.model import RadiomicsSurvivalModel  # here, because TensorFlow takes seconds to import

    table = patients.assign(split=split_patients(patients, cohort, seed)).set_index("patient_id")
    train = table[table["split"] == "train"]
    rows = features.loc[table.index]
    if combat := _alike(table, rows, np.flatnonzero(table["split"] == "train")):
        features = combat.transform(rows, table[BATCH])
    months, died, strata = train["time_months"], train["event"], strata_of(train, network)
    model = RadiomicsSurvivalModel.fit(features.loc[train.index], months, died, autoencoder, network, seed, strata)
    return table[["split"]].assign(risk=model.risk(features)).reset_index()
