"""What notebook 08 shows: from a choice of cut-offs, endpoint, set, adjustment and horizon to its results.

``explore`` is a pure function that calls the same estimators as the tables, so a choice that equals the study's
parameters gives the numbers of Table 2. ``write_params`` turns a choice into a parameter file for ``make study``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import write_text
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import TUMOUR, DefinitionParams, Params, StatisticsParams, load_params
from analysis_lib.results import MODEL
from analysis_lib.results.cox_options import adjusted as by_cox
from analysis_lib.results.cox_options import binary, observed
from analysis_lib.results.discrimination import continuous_markers, marker_table
from analysis_lib.results.table2 import sarcopenia_curves
from analysis_lib.results.table2_extended import covariate_table
from analysis_lib.survival import survival

ADJUSTMENTS: dict[str, list[str]] = {
    "none": [],
    "age and sex": ["age", "sex"],
    "age, sex and tumour": ["age", "sex", *TUMOUR],
}
MARK = "# Written by the notebook 08_explore."
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")


class ExploreError(StudyError):
    """A choice that cannot be kept; the message says why and what to do."""


@dataclass(frozen=True)
class Choice:
    """What the widgets hold: ``cut_offs`` maps a definition to (men, women), in the units of the definition."""

    cut_offs: dict[str, tuple[float, float]]
    definition: str
    outcome: str
    set: str
    adjustment: str
    horizon_months: float

    @classmethod
    def of(cls, params: Params) -> Choice:
        """The study's own parameters: its first definition, endpoint and set, unadjusted, the last horizon."""
        cut_offs = {key: (d.men, d.women) for key, d in params.definitions.items()}
        first = next(iter(cut_offs))
        horizon = max(params.statistics.horizons_months)
        name = [*params.cohort.trained, *params.cohort.sets][0]
        return cls(cut_offs, first, params.endpoint.short, name, "none", horizon)

    def with_cut_off(self, definition: str, men: float, women: float) -> Choice:
        """The choice with other cut-offs of one definition."""
        return replace(self, cut_offs=self.cut_offs | {definition: (men, women)})


@dataclass(frozen=True)
class Result:
    """prevalence [definition, n, n_sarcopenic, prevalence]; hazard (hr, low, high, p, n, n_events, note); frames of the
    Kaplan-Meier panel [curves, at_risk, annotations]; auc [model, month, auc, low, high], empty where there is none.
    """

    prevalence: pd.DataFrame
    hazard: dict
    panel: dict[str, pd.DataFrame]
    auc: pd.DataFrame
    note: str


def definitions_of(params: Params, choice: Choice) -> dict[str, DefinitionParams]:
    """The study's definitions with the cut-offs of the choice."""
    return {
        key: d.model_copy(update=dict(zip(("men", "women"), choice.cut_offs[key], strict=True)))
        for key, d in params.definitions.items()
    }


def published(params: Params, key: str) -> DefinitionParams:
    """A definition as ``params/defaults.yaml`` has it, or the study's own of another name or source."""
    own, usual = params.definitions[key], load_params("defaults").definitions.get(key)
    return usual if usual and usual.doi == own.doi else own


def moved_cut_offs(params: Params, choice: Choice) -> str:
    """Where the shown definition's cut-offs are not the published: 'men 6.9 (published 6.36)'; "" where they are."""
    given, chosen = published(params, choice.definition), choice.cut_offs[choice.definition]
    pairs = [(sex, value, getattr(given, sex)) for sex, value in zip(("men", "women"), chosen, strict=True)]
    return ", ".join(f"{sex} {value:g} (published {given:g})" for sex, value, given in pairs if value != given)


def sets_of(params: Params) -> dict[str, str]:
    """Labels to names of the sets, of the training patients and of the internal test set, where there are any."""
    c = params.cohort
    names = [*c.sets, *(["train"] if c.trained else []), *(["internal"] if c.split_sets else [])]
    return {params.cohort.label(name): name for name in names}


def explore(patients: pd.DataFrame, risk: pd.Series | None, params: Params, choice: Choice) -> Result:
    """Results of one choice.

    Args:
        patients: analysed patients (patients.parquet).
        risk: risk score by patient_id, higher is worse; None before a model was fitted.
        params: the study's parameters.
        choice: what the widgets hold.
    """
    column = "split" if choice.set in ("train", "internal") else "set"
    part = patients[patients[column] == choice.set]
    definitions = definitions_of(params, choice)
    months, event = params.statistics.outcomes[choice.outcome].columns
    rows = []
    for key, definition in definitions.items():
        known = sarcopenic(part, definition)[part[[months, event]].notna().all(axis=1)].dropna()
        rows.append((key, len(known), int(known.sum()), float(known.mean()) if len(known) else float("nan")))
    prevalence = pd.DataFrame(rows, columns=["definition", "n", "n_sarcopenic", "prevalence"])
    definition = definitions[choice.definition]
    moved = moved_cut_offs(params, choice)
    ticks = params.statistics.at_risk_months
    panel = sarcopenia_curves(part, {choice.definition: definition}, choice.outcome, params.statistics, ticks)
    if moved:
        panel["annotations"]["title"] += f": {moved}"
    hazard = _hazard(part, definition, choice, params.statistics)
    auc, note = _auc(part, risk, definition, choice, params)
    return Result(prevalence, hazard, panel, auc, note)


def _hazard(part: pd.DataFrame, definition: DefinitionParams, choice: Choice, statistics: StatisticsParams) -> dict:
    """Hazard ratio of sarcopenia, adjusted for what the choice names and the set knows, on complete cases."""
    months, event = statistics.outcomes[choice.outcome].columns
    wanted = ADJUSTMENTS[choice.adjustment]
    covariates = covariate_table(part, wanted)
    adjusted = list(covariates)
    frame = covariates.assign(months=part[months], event=part[event], group=sarcopenic(part, definition)).dropna()
    frame = frame.join(part[statistics.cox.columns], rsuffix=" of cox")
    frame = frame[observed(frame, "months", statistics.cox)]
    if frame.empty:
        missing = {name: float("nan") for name in ("hr", "low", "high", "p")}
        return missing | {"n": 0, "n_events": 0, "note": f"no patient of this set has {choice.outcome}"}
    group = frame["group"].astype(bool)
    plain = binary(frame, ("months", "event"), group, statistics)
    if not adjusted or plain["note"]:
        return plain
    covariates = frame[adjusted].assign(sarcopenia=group.astype(float))
    row = by_cox(frame, ("months", "event"), covariates, statistics).loc["sarcopenia"].to_dict()
    left_out = [c for c in wanted if c not in adjusted and not (c == "sex" and "male" in adjusted)]
    if left_out:
        row["note"] = f"{row['note']} not known in this set: {', '.join(left_out)}".strip()
    return row


def _auc(
    part: pd.DataFrame, risk: pd.Series | None, definition: DefinitionParams, choice: Choice, params: Params
) -> tuple[pd.DataFrame, str]:
    months, event = params.statistics.outcomes[choice.outcome].columns
    chosen, nobody = {choice.definition: definition}, pd.Series(dtype=float)
    markers = marker_table(part, nobody if risk is None else risk, chosen).join(continuous_markers(part, chosen))
    if risk is None:
        markers = markers.drop(columns=MODEL)
    frame = markers.join(part.set_index("patient_id")[[months, event]].set_axis(["months", "event"], axis=1)).dropna()
    if frame.empty or not frame["event"].any():
        return pd.DataFrame(columns=["model", "month", "auc", "low", "high"]), "no event in this set"
    scores = frame[list(markers)]
    table = survival.auc_curve(
        frame["months"],
        frame["event"],
        scores,
        [choice.horizon_months],
        params.statistics.bootstrap_replicates,
        params.statistics.confidence,
        params.seed,
    )
    return table, table.attrs["note"]


def params_text(params: Params, choice: Choice) -> str:
    """YAML of a study on top of this one with the choice's cut-offs and horizon, on the same patients."""
    changed = {
        key: {sex: value for sex, value in zip(("men", "women"), pair, strict=True) if value != getattr(d, sex)}
        for key, pair in choice.cut_offs.items()
        if (d := params.definitions[key])
    }
    changed = {key: values for key, values in changed.items() if values}
    content: dict = {
        "base": params.study,
        "title": f"{params.title}, explored",
        "data_dir": params.data_dir or f"data/{params.study}",
    }
    if changed:
        content["definitions"] = changed
    if choice.horizon_months not in params.statistics.horizons_months:
        horizons = sorted({*params.statistics.horizons_months, float(choice.horizon_months)})
        content["statistics"] = {"horizons_months": horizons}
    looked_at = f"{choice.definition}, {choice.outcome}, set {choice.set}, adjustment: {choice.adjustment}"
    return f"{MARK}\n# Looked at: {looked_at}.\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def write_params(params: Params, choice: Choice, name: str, params_dir: Path) -> Path:
    """Write the choice to ``<name>.yaml`` in a folder of parameter files, checked as ``make study`` would check it.

    Raises ExploreError for a name that is no study's, or a file that somebody wrote by hand.
    """
    if not NAME.fullmatch(name):
        raise ExploreError(f"'{name}' cannot name a study; use a letter, then letters, digits, - and _")
    path = params_dir / f"{name}.yaml"
    if name == params.study:
        raise ExploreError(f"'{name}' is the study being explored; choose another name")
    if path.is_file() and not path.read_text(encoding="utf-8").startswith(MARK):
        raise ExploreError(f"params/{name}.yaml was written by hand; choose another name")
    write_text(path, params_text(params, choice))
    load_params(name, params_dir)
    return path
