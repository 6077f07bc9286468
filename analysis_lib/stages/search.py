"""Search of hyperparameters inside the training set, with Optuna.

A trial is judged by cross-validation among the training patients alone, AutoEncoder included: the held-out partial
likelihood per event (Verweij PJM, van Houwelingen HC. Stat Med 1993;12:2305, doi 10.1002/sim.4780122407), which is
steadier than a C-index on few deaths. Test sets have no say. Each trial's loss is kept, so that a search goes on where
it stopped. Akiba T et al. Optuna. KDD 2019, doi 10.1145/3292500.3330701.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import yaml

from analysis_lib.cohort.cohort import strata_of
from analysis_lib.common.files import write_text
from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Study
from analysis_lib.coxnet.cox_ensemble import folds_by_event
from analysis_lib.coxnet.cross_validation import cross_validated_loss
from analysis_lib.coxnet.deepsurv import TrainingError
from analysis_lib.coxnet.fitting import derived_seed

HIDDEN = {"none": [], "16": [16], "32": [32], "64": [64], "32-16": [32, 16], "64-32": [64, 32]}

DROPOUT, L2, RATE, CODE, NOISE = (0.0, 0.5), (1e-5, 1e-1), (1e-3, 5e-2), (2, 200), (0.0, 1.0)


def search_hyperparameters(study: Study, quiet: bool = False) -> None:
    """Search inside the training set: trials to build/<study>/search, values to params/<study>-tuned.yaml."""
    params = study.params
    params.cohort.check_trained()
    patients = study.patients(with_radiomics=True)
    train = patients[patients["split"] == "train"]
    features, strata = study.features().loc[train["patient_id"]], strata_of(train, params.network)
    months, died = train["time_months"].to_numpy(float), train["event"].to_numpy(bool)
    trials, best = search(features, months, died, params, study.build / "search", quiet, strata)
    study.write_search(trials)
    path = study.project.params_dir / f"{params.study}-tuned.yaml"
    write_tuned(path, params.study, best, trials, params)
    print(f"chosen values are in {study.project.name_of(path)}; run them with make study STUDY={path.stem}")


def search(
    features: pd.DataFrame,
    months: np.ndarray,
    died: np.ndarray,
    params: Params,
    folder: Path,
    quiet: bool = False,
    strata: pd.Series | None = None,
) -> tuple[pd.DataFrame, dict]:
    """Run ``params.search.trials`` trials; losses of trials that an earlier run made are read from ``folder``.

    features, months and died are the training patients'. The first trial is the study's own values. Returns the
    trials (trial, state, value, one column a value tried) and the best values by dotted parameter name. The n-th
    trial draws from a seed of its own, so an interrupted search ends where an uninterrupted one does.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial(own_values(params))
    fold = folds_by_event(died, params.search.folds, np.random.default_rng(derived_seed(params.seed, 14)))
    kept = keeping(cross_validated_loss, folder)

    def loss(trial: optuna.Trial) -> float:
        tried = suggested(trial, params)
        return kept(features, months, died, fold, tried.autoencoder, tried.network, params.seed, strata)

    for number in range(params.search.trials):
        study.sampler = optuna.samplers.TPESampler(seed=derived_seed(params.seed, 15, number) % 2**31)
        study.optimize(loss, n_trials=1, catch=(TrainingError,))
        if not quiet:
            print(f"trial {number + 1} of {params.search.trials}: best {study.best_value:.4f}", flush=True)
    trials = study.trials
    rows = [{"trial": i, "state": t.state.name.lower(), "value": t.value, **t.params} for i, t in enumerate(trials, 1)]
    best = min((t for t in trials if t.value is not None), key=lambda t: math.inf if t.value is None else t.value)
    return pd.DataFrame(rows), best.params


def own_values(params: Params) -> dict:
    """The study's values as a trial, brought inside the space where they lie outside."""
    network, autoencoder = params.network, params.autoencoder

    def inside(value: float, bounds: tuple[float, float]) -> float:
        return min(max(value, bounds[0]), bounds[1])

    hidden = next((name for name, widths in HIDDEN.items() if widths == network.hidden), "32-16")
    return {
        "network.hidden": hidden,
        "network.dropout": inside(network.dropout, DROPOUT),
        "network.l2": inside(network.l2, L2),
        "network.learning_rate": inside(network.learning_rate, RATE),
        "autoencoder.code_size": inside(autoencoder.code_size, CODE),
        "autoencoder.noise": inside(autoencoder.noise, NOISE),
    }


def suggested(trial: optuna.Trial, params: Params) -> Params:
    """Parameters of a trial; the space is written here and in docs/modelling.md."""
    network = {
        "hidden": HIDDEN[trial.suggest_categorical("network.hidden", list(HIDDEN))],
        "dropout": trial.suggest_float("network.dropout", *DROPOUT),
        "l2": trial.suggest_float("network.l2", *L2, log=True),
        "learning_rate": trial.suggest_float("network.learning_rate", *RATE, log=True),
        "ensemble": min(5, params.network.ensemble),  # one round over the folds: half the time, the same ranking
    }
    autoencoder = {
        "code_size": trial.suggest_int("autoencoder.code_size", *CODE, log=True),
        "noise": trial.suggest_float("autoencoder.noise", *NOISE),
    }
    sections = {
        "network": params.network.model_copy(update=network),
        "autoencoder": params.autoencoder.model_copy(update=autoencoder),
    }
    return params.model_copy(update=sections)


def write_tuned(path: Path, base: str, best: dict, trials: pd.DataFrame, params: Params) -> None:
    """Write a parameter file on top of ``base`` with the chosen values, and how they were chosen as comments."""
    sections: dict[str, dict] = {}
    for name, value in best.items():
        section, key = name.split(".")
        value = HIDDEN[value] if key == "hidden" else float(f"{value:.4g}") if isinstance(value, float) else value
        sections.setdefault(section, {})[key] = value
    done = trials[trials["value"].notna()]
    own = done.loc[done["trial"] == 1, "value"]
    text = (
        f"# {base} with values chosen by `make search STUDY={base}`: the best of {len(done)} trials (Optuna, TPE,\n"
        f"# seed {params.seed}) by {params.search.folds}-fold cross-validated partial likelihood within the training "
        "patients.\n"
        f"# Loss per event {done['value'].min():.4f}"
        + (f"; the values of {base} have {own.iloc[0]:.4f}" if len(own) else "")
        + f". Trials: figures/{base}/search.csv.\n"
        f"base: {base}\n"
        + (f"data_dir: {params.data_dir or f'data/{base}'}\n")
        + yaml.safe_dump(sections, sort_keys=False, default_flow_style=None)
    )
    write_text(path, text)
