"""Numbers of a finished study that captions and alternative texts name: sets with n and events, ratios, settings."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from analysis_lib.cohort.cohort import excluded_text
from analysis_lib.common.formatting import format_estimate, format_ratio
from analysis_lib.core.project import Study
from analysis_lib.core.question_params import Outcome, cox_text, cuts_text, uncounted_text
from analysis_lib.results import MODEL
from analysis_lib.results.process import process_labels

WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}


class Facts(dict):
    """Names to text; an unknown name stays visible as it stands, so that a slip in a caption is seen.

    ``later``: what waits until a caption names it, since notebooks of indices run before there are features.
    """

    def __init__(self, later: dict[str, Callable[[], str]], **known: str) -> None:
        super().__init__(known)
        self.later = later

    def __missing__(self, key: str) -> str:
        if key in self.later:
            return self.setdefault(key, self.later[key]())
        return "{" + key + "}"


def facts(study: Study) -> Facts:
    """The names that a caption in ``artefacts.ARTEFACTS`` may hold."""
    params, patients = study.params, study.patients()
    cohort = params.cohort
    asked = f" ({params.question})" if params.question else ""
    sets = {
        name: _set_text(cohort.label(name) + asked, params.statistics.outcomes, patients[patients["set"] == name])
        for name in cohort.sets
    }
    parts = {
        name: _set_text(cohort.label(name) + asked, params.statistics.outcomes, patients[patients["split"] == name])
        for name in cohort.splits
    }
    outside = cohort.external_sets
    (first, _), (other, second), *_ = params.statistics.outcomes.items()
    later = {
        "excluded": lambda: excluded_text(study.exclusions()),
        "features": lambda: str(study.n_features),
        "process": lambda: ", ".join(process_labels(params, patients, study.n_features)),
    }
    found = Facts(
        later,
        all="; ".join(text for text in sets.values() if text),
        discovery="; ".join(sets[name] for name in cohort.trained if sets[name]) or "No discovery set",
        train=parts.get("train") or "No training set",
        tests="; ".join(parts[name] for name in cohort.test_sets if parts[name]),
        definitions=WORDS.get(len(params.definitions), str(len(params.definitions))),
        level=f"{params.statistics.confidence:.0%}",
        rmst_months=f"{params.statistics.rmst_months:g}",
        replicates=f"{params.statistics.bootstrap_replicates:,}",
        curve_replicates=f"{params.statistics.curve_replicates:,}",
        components=WORDS.get(params.pca.components, str(params.pca.components)),
        code_size=str(params.autoencoder.code_size),
        time_origin=params.statistics.origin,
        ensemble=str(params.network.ensemble),
        cox=cox_text(params.cox),
        uncounted=uncounted_text(params.cox),
        cuts=cuts_text(params.risk_groups),
        endpoint=params.endpoint.name,
        event=params.endpoint.noun,
        events=params.endpoint.plural,
        second_endpoint=second.name,
        hazard_discovery=". ".join(_ratios(study, name, first) for name in cohort.trained),
        hazard_second_discovery=". ".join(_ratios(study, name, other) for name in cohort.trained),
        hazard_risk_groups=_risk_groups(study),
        validated=_validated(study, patients),
        c_index_model=_c_index(study),
    )
    found |= {f"answer_{name}": text for name, text in study.answers().items()}
    for k in range(max(2, len(outside))):  # the letter has two external sets; a study may have any number
        name = outside[k] if k < len(outside) else ""
        found[f"test{k + 1}"] = sets.get(name) or "This study has no such set"
        found[f"hazard_test{k + 1}"] = _ratios(study, name, first)
    return found


def fill(text: str, found: Facts) -> str:
    """A caption with its names replaced, its first letter large."""
    done = text.format_map(found).strip()
    return done[:1].upper() + done[1:]


def _set_text(label: str, outcomes: dict[str, Outcome], part: pd.DataFrame) -> str:
    if part.empty:
        return ""
    events = {outcome.plural: part[outcome.event] for outcome in outcomes.values()}
    counts = [f"{int(column.sum())} {plural}" for plural, column in events.items() if column.notna().any()]
    return ", ".join([f"{label}: n = {len(part)}", *counts])


def _validated(study: Study, patients: pd.DataFrame) -> str:
    if not (study.build / "validation" / "model.json").is_file():
        return "No saved model was judged"
    predictions, about = study.validation()
    judged = patients.drop(columns="set").merge(predictions[["patient_id", "set"]], on="patient_id")
    outcomes, label = study.params.statistics.outcomes, study.params.cohort.label
    sets = "; ".join(_set_text(label(n), outcomes, part) for n, part in judged.groupby("set", sort=False))
    return f"Model of study {about['study']} ({about['n_patients']} training patients), judged on {sets}"


def _result(study: Study, name: str) -> pd.DataFrame | None:
    return study.result(name) if (study.figures / f"{name}.csv").is_file() else None


def _ratios(study: Study, set_name: str, outcome: str) -> str:
    table = _result(study, "table2")
    if table is None:
        return "Hazard ratios: see the table"
    rows = table[(table["set"] == set_name) & (table["outcome"] == outcome)]
    if rows.empty:
        return "No patient of such a set"
    return "Hazard ratios: " + ", ".join(
        f"{row.definition} {format_ratio(row.hr, row.hr_low, row.hr_high)}" for row in rows.itertuples()
    )


def _risk_groups(study: Study) -> str:
    table = _result(study, "risk_groups")
    if table is None:
        return "Hazard ratios: see the table"
    label = study.params.cohort.label
    texts = [f"{label(r.set)} {format_ratio(r.hr, r.hr_low, r.hr_high)}" for r in table.itertuples()]
    return "Hazard ratio of high against low risk: " + ", ".join(texts)


def _c_index(study: Study) -> str:
    table = _result(study, "c_index")
    if table is None:
        return f"C-index of {MODEL}: see the table"
    rows = table[(table["model"] == MODEL) & (table["set"] != "train")]
    label = study.params.cohort.label
    texts = [f"{label(r.set)} {format_estimate(r.c_index, r.low, r.high)}" for r in rows.itertuples()]
    return f"C-index of {MODEL}: " + ", ".join(texts)
