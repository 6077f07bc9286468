"""The study's model and the models beside it: fitted to the training patients, and everybody's risk by them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis_lib.cohort.cohort import strata_of
from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import CohortParams, Params
from analysis_lib.core.project import Study
from analysis_lib.coxnet.cutoff import ensemble_spread
from analysis_lib.coxnet.model import RadiomicsSurvivalModel, timed_fit, timed_partner
from analysis_lib.stages import MODEL, comparators
from analysis_lib.survival.survival import c_index


def fit_model(
    patients: pd.DataFrame,
    features: pd.DataFrame,
    params: Params,
    joint: bool | None = None,
    kept: Path | None = None,
) -> tuple[RadiomicsSurvivalModel, float]:
    """The model fitted to the training patients, and the seconds that this took, or had taken where it is ``kept``.

    patients : as patients.parquet, index patient_id; features : by patient_id. ``joint`` overrides
    ``autoencoder.joint``.
    """
    train = patients[patients["split"] == "train"]
    autoencoder = params.autoencoder if joint is None else params.autoencoder.model_copy(update={"joint": joint})
    return keeping(timed_fit, kept)(
        features.loc[train.index],
        train["time_months"],
        train["event"],
        autoencoder,
        params.network,
        params.seed,
        strata_of(train, params.network),
    )


def score_patients(
    study: Study, model: RadiomicsSurvivalModel, patients: pd.DataFrame, features: pd.DataFrame
) -> pd.Series:
    """Risk of every patient; writes it with the held-out risk of the training patients and predicted survival."""
    risk, split = model.risk(features), patients["split"]
    study.write_risk(risk, split, ensemble_spread(model.risk_spread(features)))
    train = patients.index[split == "train"]
    study.write_held_out_risk(pd.Series(model.ensemble.held_out_risk, index=train))
    study.write_survival(model.survival(features, study.params.statistics.curve_months()), split)
    return risk


def single_networks(
    model: RadiomicsSurvivalModel, patients: pd.DataFrame, features: pd.DataFrame, cohort: CohortParams
) -> tuple[pd.DataFrame, float]:
    """C-index of the ensemble beside that of its networks one by one, and the mean spread of the risks over them.

    Returns a row a set with the columns ensemble, mean, std, min and max.
    """
    each = model.risk_spread(features)
    scored = each.assign(ensemble=model.risk(features))
    table = pd.DataFrame(
        {
            cohort.label(name): [c_index(part["time_months"], part["event"], scored.loc[part.index, k]) for k in scored]
            for name, part in patients.groupby("split", sort=False)
        },
        index=scored.columns,
    )
    single = table.drop("ensemble")
    summary = {name: single.agg(name) for name in ("mean", "std", "min", "max")}
    return pd.DataFrame({"ensemble": table.loc["ensemble"], **summary}), float(ensemble_spread(each).mean())


def fit_others(
    study: Study, model: RadiomicsSurvivalModel, patients: pd.DataFrame, features: pd.DataFrame, seconds: float
) -> pd.DataFrame:
    """Fit the other models to the same training patients and write everybody's risks by them.

    ``seconds`` is what ``model`` took. On synthetic patients the true risk is among them. Returns model and seconds.
    """
    params = study.params
    joint, joint_seconds = fit_model(patients, features, params, True, study.cache / "model")
    train = patients[patients["split"] == "train"]
    outcome = train["time_months"], train["event"], params.network, strata_of(train, params.network)
    keep = keeping(timed_partner, study.cache / "model", apart=("model",))
    combined, further = keep(
        model, features.loc[train.index], outcome, (params.autoencoder, params.network, params.seed)
    )
    risks, times = comparators.fit_comparators(
        patients, features, model, params.comparators, params.seed, joint, study.cache / "comparators", combined
    )
    if params.synthetic:
        risks = risks.join(comparators.ceiling(study.data, risks.index))
    took = {comparators.OTHER: joint_seconds, comparators.COMBINED: further + seconds, MODEL: seconds}
    networks = pd.DataFrame({"model": took.keys(), "seconds": took.values()})
    times = pd.concat([times, networks], ignore_index=True)
    study.write_comparators(risks, patients["split"], times)
    return times
