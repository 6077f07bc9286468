"""Table 2: prevalence and hazard ratio of each definition of sarcopenia, and the curves of its groups (Fig. 2).

Notebooks call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, Params, StatisticsParams
from analysis_lib.core.question_params import Outcome
from analysis_lib.results.cox_options import binary, logrank_p, observed
from analysis_lib.results.kaplan_meier import panels_of

TABLE2_COLUMNS = [
    "set", "definition", "outcome", "n", "n_sarcopenic", "prevalence", "hr", "hr_low", "hr_high", "p",
]  # fmt: skip
TABLE2_BESIDE = ["events", "events_sarcopenic", "p_logrank"]  # printed, and in the extended table's file
GROUPS = {False: "No sarcopenia", True: "Sarcopenia"}  # in drawing order


def table_two(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    cohort: CohortParams,
    statistics: StatisticsParams,
) -> pd.DataFrame:
    """Prevalence and univariable Cox hazard ratio of each definition, by set and outcome.

    Columns TABLE2_COLUMNS and TABLE2_BESIDE: events, those of the sarcopenic among them, and the log-rank P. ``n``
    counts the patients whose index and outcome are known. An outcome that a set lacks has no rows; a definition
    whose index a set lacks has a row of 0 patients, and what cannot be estimated is NaN. ``prevalence`` is a fraction.
    """
    rows = []
    for name in cohort.sets:
        part = patients[patients["set"] == name]
        for key, definition in definitions.items():
            for outcome, of in statistics.outcomes.items():
                if part[[*of.columns]].dropna().empty:
                    continue
                known = _known(part, definition, of, statistics)
                row: dict[str, Any] = {"set": name, "definition": key, "outcome": outcome}
                row |= dict.fromkeys(["n", "n_sarcopenic", "events", "events_sarcopenic"], 0)
                if not known.empty:
                    fit = binary(known, ("months", "event"), known["group"], statistics)
                    row |= {"n": fit["n"], "n_sarcopenic": fit["n_group"], "prevalence": fit["n_group"] / fit["n"]}
                    row |= {"hr": fit["hr"], "hr_low": fit["low"], "hr_high": fit["high"], "p": fit["p"]}
                    row |= {"events": fit["n_events"], "events_sarcopenic": fit["events_group"]}
                    row["p_logrank"] = logrank_p(known, ("months", "event"), known["group"], statistics.cox)
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=[*TABLE2_COLUMNS, *TABLE2_BESIDE])


def sarcopenia_curves(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    outcome: str,
    statistics: StatisticsParams,
    ticks: Sequence[float],
) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of one set, a panel a definition; frames curves, at_risk and annotations."""
    panels, titles = {}, definition_labels(definitions)
    for key, definition in definitions.items():
        known = _known(patients, definition, statistics.outcomes[outcome], statistics)
        panels[key] = (titles[key], known)
    return panels_of(panels, GROUPS, statistics, ticks)


def definition_labels(definitions: dict[str, DefinitionParams]) -> dict[str, str]:
    """Each definition with its source, as tables and panels name it."""
    return {key: f"{key} ({definition.source})" for key, definition in definitions.items()}


def curves_of(patients: pd.DataFrame, sets: list[str], outcome: str, params: Params) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of the patients of some sets together, a panel a definition of the study."""
    part, statistics = patients[patients["set"].isin(sets)], params.statistics
    return sarcopenia_curves(part, params.definitions, outcome, statistics, statistics.at_risk_months)


def external_figures(cohort: CohortParams) -> dict[str, list[str]]:
    """Fig. S2, S3 and so on with the set that each shows: those never trained on, and at least the letter's two."""
    sets = [[name] for name in cohort.external_sets]
    sets += [[]] * (2 - len(sets))
    return {f"figS{number}": names for number, names in enumerate(sets, start=2)}


def _known(
    patients: pd.DataFrame, definition: DefinitionParams, outcome: Outcome, statistics: StatisticsParams
) -> pd.DataFrame:
    """months, event, group (bool) and columns of ``cox`` of the patients whose index and outcome are known."""
    columns = {"months": patients[outcome.months], "event": patients[outcome.event]}
    frame = pd.DataFrame(columns | {"group": sarcopenic(patients, definition)}).dropna()
    frame = frame.astype({"group": bool}).join(patients[statistics.cox.columns])
    return frame[observed(frame, "months", statistics.cox)]
