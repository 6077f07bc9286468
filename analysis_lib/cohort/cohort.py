"""Who is analysed: split of the discovery set, exclusions of every stage."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS
from analysis_lib.cohort.question import asked
from analysis_lib.common.errors import ParameterError
from analysis_lib.core.parameters import CohortParams, MultiverseParams, Params, StatisticsParams
from analysis_lib.core.project import Study
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.radiomics import RADIOMICS_STAGE


def split_patients(patients: pd.DataFrame, cohort: CohortParams, seed: int) -> pd.Series:
    """Split name of each patient: ``train`` or ``internal`` in the sets trained on, else the set itself.

    The internal test set is the floor of ``internal_fraction`` of each discovery set: those whose keyed hash
    of (seed, patient_id) is lowest. A patient's place in that order depends on no other patient, so one
    exclusion moves at most one other patient across the split.
    """
    split = patients["set"].copy()
    split[patients["set"].isin(cohort.trained)] = "train"
    discovery = patients[patients["set"].isin(cohort.split_sets)]
    order = discovery["patient_id"].map(lambda name: _hash(seed, name))
    by = ["set", "event"] if cohort.stratify_by_event else ["set"]
    groups = [part.index for _, part in discovery.groupby(by, sort=True)]
    for group in groups:
        ranked = order.loc[group].sort_values(kind="stable").index
        n_internal = int(np.floor(cohort.internal_fraction * len(ranked)))
        split.loc[ranked[:n_internal]] = "internal"
        split.loc[ranked[n_internal:]] = "train"
    return split.rename("split")


def strata_of(patients: pd.DataFrame, network: NetworkParams) -> pd.Series | None:
    """Stratum of each patient by ``network.strata``, None without; those whose value is unknown are one stratum.

    Raises ParameterError where nobody has a value.
    """
    if network.strata == "none":
        return None
    if network.strata not in patients or patients[network.strata].replace("", None).isna().all():
        raise ParameterError(
            f"network.strata is {network.strata}, but no patient of the clinical table has a {network.strata}; "
            "fill that column or set network.strata: none"
        )
    return patients[network.strata].replace("", None).fillna("unknown").astype(str)


def _hash(seed: int, patient_id: str) -> str:
    return hashlib.blake2b(patient_id.encode(), key=f"split {seed}".encode(), digest_size=16).hexdigest()


def assemble(clinical: pd.DataFrame, measured: pd.DataFrame, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row for each analysed patient, and who of the measured is left out, as ``question.asked`` has them.

    Clinical columns, indices, ``split``; sorted by patient_id. The split is of those who are left.
    """
    table = clinical.merge(measured, on="patient_id", validate="one_to_one")
    table, left_out = asked(table.sort_values("patient_id", ignore_index=True), params)
    table.insert(2, "split", split_patients(table, params.cohort, params.seed))
    check_reach(table, left_out, params)
    return table, left_out


def check_reach(patients: pd.DataFrame, left_out: pd.DataFrame, params: Params) -> None:
    """Raise ParameterError where the study's file asks for months, or a code, that its patients cannot give.

    The defaults are not asked for: of a short follow-up their cells are NA, and of few patients their code is large. So
    is a code of those whom the question leaves, as it is the base's.
    """
    if patients.empty:
        return
    asked, usual, last = params.statistics, StatisticsParams(), float(patients["time_months"].max())
    months = [("horizons_months", month) for month in sorted(set(asked.horizons_months) - set(usual.horizons_months))]
    months += [(name, getattr(asked, name)) for name in ("rmst_months", "auc_first_month")]
    for name, month in months:
        if month > last and month != getattr(usual, name):
            raise ParameterError(
                f"statistics.{name}: month {month:g} is after the last follow-up of all patients, month {last:.1f} "
                f"after {asked.origin}; give one that somebody is followed to"
            )
    trained = int((patients["split"] == "train").sum()) + int(left_out["set"].isin(params.cohort.trained).sum())
    sizes = {
        "autoencoder.code_size": {params.autoencoder.code_size} - {AutoEncoderParams().code_size},
        "multiverse.code_sizes": {*params.multiverse.code_sizes} - {*MultiverseParams().code_sizes},
    }
    for name, given in sizes.items() if params.radiomics and trained else ():
        if given and max(given) > trained:
            raise ParameterError(
                f"{name}: a code of {max(given)} variables is larger than the {trained} training patients, whom it "
                "could tell apart by heart; give fewer variables than patients"
            )


def check_sets(study: Study, clinical: pd.DataFrame, excluded: pd.DataFrame) -> None:
    """Raise ParameterError where a set of the study's file has no row of the clinical table; the letter's may be empty.

    ``clinical`` and ``excluded`` as of ``read_clinical``.
    """
    cohort = study.params.cohort
    if nobody := set(cohort.sets) - {*clinical["set"], *excluded["set"]}:
        for name in sorted(nobody - set(study.project.params("defaults").cohort.sets)):
            raise ParameterError(
                f"cohort.sets.{name}: no row of {study.clinical_file.name} has '{name}' in its column set, which "
                f"holds {', '.join(sorted({*clinical['set']}))}; mend the name, or take the set away: {name}: null"
            )


def exclusion_table(parts: list[pd.DataFrame], sets: pd.Series) -> pd.DataFrame:
    """All exclusions (patient_id, stage, reason, set), in the order of the stages, then of patients."""
    table = pd.concat([p.reindex(columns=[*EXCLUSION_COLUMNS, "set"]) for p in parts], ignore_index=True)
    table["set"] = table["set"].fillna(table["patient_id"].map(sets)).fillna("unknown")
    return table


def excluded_text(exclusions: pd.DataFrame) -> str:
    """How many patients were excluded, and how many of the analysed have no radiomics and so no risk score."""
    without = int((exclusions["stage"] == RADIOMICS_STAGE).sum())
    out = len(exclusions) - without
    text = f"{out} patient{'' if out == 1 else 's'} excluded"
    return f"{text}, {without} analysed by indices only" if without else text
