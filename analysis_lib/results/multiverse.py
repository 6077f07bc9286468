"""What if: the choices an analyst could have made instead.

``run_multiverse`` writes the tables that notebook 15 draws: hazard ratios, gains and, for a synthetic study, power
(see ``power``). Fitted models and re-measured images are kept in ``build/<study>/multiverse``, so that an interrupted
run resumes. Source of the specification curve: Simonsohn 2020, doi:10.1038/s41562-020-0912-z.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.keep import keeping
from analysis_lib.common.pool import map_patients
from analysis_lib.common.sarcopenia import add_height_indices, cut_offs
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Study
from analysis_lib.ct.settings import HuWindow
from analysis_lib.results import MODEL
from analysis_lib.results.discrimination import continuous_markers, marker_table
from analysis_lib.results.power import power
from analysis_lib.results.table2_extended import covariate_table
from analysis_lib.stages.measure import remeasured
from analysis_lib.stages.refit import BATCH, refitted, used_columns
from analysis_lib.survival import survival

HR_COLUMNS = [
    "set",
    "outcome",
    "index",
    "window",
    "groups",
    "cut_off",
    "adjusted",
    "n",
    "events",
    "hr",
    "low",
    "high",
    "p",
]
GAIN_COLUMNS = ["set", "split_seed", "code_size", "against", "form", "gain", "low", "high", "p", "n", "events"]


def run_multiverse(study: Study, quiet: bool = False) -> None:
    """Run every specification of the study; resumes where it stopped."""
    params, folder = study.params, study.build / "multiverse"
    patients = study.patients()
    tables = {"as measured": patients}
    for window in params.multiverse.hu_windows:
        measured = _with_window(study, patients, window, quiet)
        name = f"{window.low:g} to {window.high:g} HU"
        if measured is None:
            print(f"window {name}: left out, the images are not there")
        else:
            tables[name] = measured
    print("bin width: the extracted one alone; extract a study with another parameter file to compare")
    ratios = hazard_ratios(tables, params, quiet)
    gains = model_gains(study, folder, quiet)
    study.write_multiverse(ratios, gains, power(params, folder, quiet) if params.synthetic else None)


# ---- hazard ratios ---------------------------------------------------------------------------------------


def cut_off_choices(params: Params, column: str) -> list[tuple[float, float]]:
    """Cut-offs (men, women) of an index, evenly from the lowest to the highest published one of each sex."""
    known = [d for d in (*params.definitions.values(), *params.further_definitions.values()) if d.column == column]
    ends = []
    for sex in ("men", "women"):
        values = [getattr(d, sex) for d in known] + [getattr(c, sex) for d in known for c in d.bmi_classes]
        low, high = min(values), max(values)
        if low == high:
            spread = params.multiverse.cut_off_spread
            low, high = low * (1 - spread), high * (1 + spread)
        ends.append(np.linspace(low, high, params.multiverse.cut_off_steps))
    return [(float(m), float(w)) for m, w in zip(*ends, strict=True)]


def hazard_ratios(tables: dict[str, pd.DataFrame], params: Params, quiet: bool = False) -> pd.DataFrame:
    """Hazard ratio of low muscle in every set, endpoint, index, HU window, grouping and adjustment (HR_COLUMNS).

    Groups: below the cut-off, below the set's median of the sex, lowest against the other tertiles of the sex.
    """
    jobs, outcomes = [], params.statistics.outcomes
    for window, table in tables.items():
        for name, outcome, (key, definition) in itertools.product(
            params.cohort.sets, outcomes, params.definitions.items()
        ):
            if window != "as measured" and not definition.column.startswith("sm"):
                continue  # the window of SM changes no psoas index
            columns = [
                "sex",
                *outcomes[outcome].columns,
                definition.column,
                *set(params.statistics.adjust_for) - {"sex"},
            ]
            part = table.loc[table["set"] == name, columns]
            part = part[part[[*outcomes[outcome].columns]].notna().all(axis=1) & part[definition.column].notna()]
            if len(part):
                first = {"set": name, "outcome": outcome, "index": key, "window": window}
                jobs.append((part, definition.column, first, params))
    rows = map_patients(_ratios_of_one, jobs, workers=params.workers, label="hazard ratios", quiet=quiet, unit="index")
    return pd.DataFrame(itertools.chain.from_iterable(rows)).reindex(columns=HR_COLUMNS)


def _ratios_of_one(part: pd.DataFrame, column: str, first: dict, params: Params) -> list[dict]:
    value, definition = part[column].to_numpy(float), params.definitions[first["index"]]
    choices = []
    for men, women in cut_off_choices(params, column):
        moved = definition.model_copy(update={"men": men, "women": women, "bmi_classes": []})
        choices.append(("published range", f"{men:.4g} / {women:.4g}", cut_offs(part, moved).to_numpy()))
    for label, share in (("median", 1 / 2), ("tertile", 1 / 3)):
        by_sex = part.groupby("sex")[column].transform(lambda v, share=share: v.quantile(share))
        choices.append((label, label, by_sex.to_numpy(float)))
    months, event = params.statistics.outcomes[first["outcome"]].columns
    covariates = covariate_table(part, params.statistics.adjust_for)
    complete = covariates.notna().all(axis=1).to_numpy()
    rows = []
    for groups, cut_off, at in choices:
        low = (value < at).astype(float)
        for adjusted in (False, True):
            use = np.isfinite(at) & complete if adjusted else np.isfinite(at)  # no cut-off for one of unknown sex
            table = covariates[use].assign(low=low[use]) if adjusted else pd.DataFrame({"low": low[use]})
            fit = survival.cox_adjusted(
                part.loc[use, months], part.loc[use, event], table, params.statistics.confidence
            )
            fit = fit.set_index("covariate").loc["low"]
            found = {"n": int(fit["n"]), "events": int(fit["n_events"])} | {
                k: fit[k] for k in ("hr", "low", "high", "p")
            }
            rows.append(first | {"groups": groups, "cut_off": cut_off, "adjusted": adjusted} | found)
    return rows


def _with_window(study: Study, patients: pd.DataFrame, window: HuWindow, quiet: bool) -> pd.DataFrame | None:
    """The patients with SM measured in another HU window; None without images."""
    params, columns = study.params, ["sm_area_cm2", "sm_mean_hu"]
    sm = params.images.sm.model_copy(update={"hu_window": window})
    images = params.images.model_copy(update={"sm": sm})
    other = replace(study, params=params.model_copy(update={"images": images}))
    measured = remeasured(other, quiet)
    if measured is None:
        return None
    measured = measured.set_index("patient_id").reindex(patients["patient_id"])
    table = patients.assign(**{c: measured[c].to_numpy() for c in columns})
    return add_height_indices(table)


# ---- gain of the model -------------------------------------------------------------------------------------


def model_gains(study: Study, folder: Path, quiet: bool = False) -> pd.DataFrame:
    """C-index of the model less that of each marker, by set, split and AutoEncoder size (GAIN_COLUMNS).

    Where a column of scanners is named, also by whether ComBat made the features alike over them (harmonised, yes or
    no). One model a choice, fitted on that split's training patients; interval and P by paired bootstrap.
    """
    params, patients = study.params, study.patients(with_radiomics=True).drop(columns="split")
    features = study.features(as_extracted=True)
    scanner = params.multiverse.harmonise or params.features.harmonise.batch
    network = params.network.model_copy(update={"ensemble": params.multiverse.ensemble})
    table, jobs, choices = patients[used_columns(network)], [], []
    asked = itertools.product(range(params.multiverse.split_seeds), params.multiverse.code_sizes)
    for (k, size), alike in itertools.product(asked, (False, True) if scanner else (False,)):
        autoencoder = params.autoencoder.model_copy(update={"code_size": min(size, features.shape[1])})
        given = table.assign(**{BATCH: patients[scanner]}) if alike else table
        jobs.append((given, features, params.cohort, autoencoder, network, params.seed + k))
        choices.append((params.seed + k, size, alike))
    kept = keeping(refitted, folder)
    fits = map_patients(kept, jobs, workers=params.workers, label="models", quiet=quiet, unit="model")
    tables = []
    for fit, (seed, size, alike) in zip(fits, choices, strict=True):
        tables.append(_gains_of_one(params, patients, fit, seed, size).assign(harmonised="yes" if alike else "no"))
    columns = [*GAIN_COLUMNS, "harmonised"] if scanner else GAIN_COLUMNS
    return pd.concat(tables, ignore_index=True).reindex(columns=columns)


def _gains_of_one(params: Params, patients: pd.DataFrame, fitted: pd.DataFrame, seed: int, size: int) -> pd.DataFrame:
    table = patients.merge(fitted, on="patient_id", validate="one_to_one")
    risk = fitted.set_index("patient_id")["risk"]
    continuous = continuous_markers(table, params.definitions)
    markers = marker_table(table, risk, params.definitions).join(continuous)
    definition_of = dict(zip(continuous, params.definitions, strict=True))
    statistics, tables = params.statistics, []
    for name in params.cohort.test_sets:
        part = table[table["split"] == name].set_index("patient_id")
        scores = markers.loc[part.index].dropna(axis="columns", how="all").dropna()  # an index that the set lacks
        part = part.loc[scores.index]
        if part["event"].sum() == 0:
            continue
        settings = (statistics.curve_replicates, statistics.confidence, seed)
        found = survival.bootstrap_c_index_difference(part["time_months"], part["event"], scores, MODEL, *settings)
        tables.append(
            pd.DataFrame(
                {
                    "set": name,
                    "split_seed": seed,
                    "code_size": size,
                    "against": found["model"].replace(definition_of),
                    "form": np.where(found["model"].isin(definition_of), "continuous", "yes or no"),
                    "gain": found["difference"],
                    "low": found["low"],
                    "high": found["high"],
                    "p": found["p"],
                    "n": len(part),
                    "events": int(part["event"].sum()),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
