"""What a study asks: of which of the usable patients, about which event, and from when on.

The patients that come out have ``time_months``, ``event`` and ``cause``, so that nothing after this knows which
endpoint it is. Whoever is left out here could have been used; that is a step of the flowchart, and no exclusion.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis_lib.cohort.columns import BY_NAME, Column
from analysis_lib.cohort.mapping import NATURAL_CODES, plain_code
from analysis_lib.common.errors import ParameterError, suggest
from analysis_lib.core.parameters import Params
from analysis_lib.core.question_params import Condition, CoxParams, Endpoint

TIMES = (("os_months", "os_event"), ("rfs_months", "rfs_event"), ("time_months", "event"))
MOST_SHOWN = 20  # values of a column that a message may list


def further_columns(params: Params) -> list[Column]:
    """Columns of the clinical table that the study does not have of itself and that its question names."""
    cox = params.cox
    scanners = (params.features.harmonise.batch, params.multiverse.harmonise)
    own = {name: Column(name, "features.harmonise", kind="text") for name in scanners}
    own |= {name: Column(name, "cox.strata", kind="text") for name in cox.strata} | {
        cox.entry: replace(BY_NAME["os_months"], meaning="cox.entry", required=False, above=False, median=None),
        cox.weights: Column("", "cox.weights", low=0, high=1e6, above=True),
        params.endpoint.months: replace(BY_NAME["os_months"], meaning="endpoint.months", required=False),
        params.endpoint.event: Column("", "endpoint.event", low=0, high=2),
    }
    texts = {name: Column(name, f"subset.{name}", kind="text") for name in params.subset}
    return [replace((texts | own)[name], name=name) for name in params.asked_columns() if name not in BY_NAME]


def asked(patients: pd.DataFrame, params: Params) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The patients of whom the study asks, and those it leaves out (patient_id, set, step) in the order of the steps.

        Of them ``with_endpoint`` tells the endpoint.

    With a landmark, times count from there. Raises ParameterError where nobody is left in a set that is trained on.
    """
    out: list[pd.DataFrame] = []

    def keep(kept: pd.Series, step: str) -> None:
        nonlocal patients
        out.append(patients.loc[~kept, ["patient_id", "set"]].assign(step=step))
        patients = patients[kept].reset_index(drop=True)
        trained = params.cohort.trained
        if trained and not patients["set"].isin(trained).any():
            labels = ", ".join(map(params.cohort.label, trained))
            raise ParameterError(f"{step}: nobody is left in {labels}, so there is nobody to train on; ask of more")

    steps = iter(params.steps)
    if params.subset:
        keep(in_subset(patients, params.subset), next(steps))
    patients = with_endpoint(patients, params.endpoint)
    if params.endpoint != Endpoint():
        keep(patients["event"].notna(), next(steps))
    if month := params.landmark_months:
        keep(patients["time_months"] > month, next(steps))
        patients = since(patients, month)
        if params.cox.entry:
            patients[params.cox.entry] = (patients[params.cox.entry] - month).clip(lower=0)
    check_cox(patients, params.cox)
    return patients, pd.concat(out) if out else pd.DataFrame(columns=["patient_id", "set", "step"])


def check_cox(patients: pd.DataFrame, cox: CoxParams) -> None:
    """Raise ParameterError where a column of ``cox`` is not there or not known of all, or an entry is too late."""
    for parameter, name in [*(("strata", name) for name in cox.strata), ("entry", cox.entry), ("weights", cox.weights)]:
        if not name:
            continue
        if name not in patients:
            raise ParameterError(
                f"cox.{parameter}: '{name}' is no column of the patients{suggest(name, list(patients))}"
            )
        if missing := int(patients[name].isna().sum()):
            raise ParameterError(f"cox.{parameter}: {missing} patients have no {name}; fill it in, or leave it out")
    if cox.entry and (late := int((patients[cox.entry] >= patients["time_months"]).sum())):
        raise ParameterError(
            f"cox.entry: {late} patients come under observation only when their follow-up has ended; mend {cox.entry}"
        )


def with_endpoint(patients: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """The same with ``time_months``, ``event`` (0 or 1) and ``cause`` (0 none, 1 the event, 2 one that takes it away).

    All three are missing of whom one is not known. Another event ends the time, and as censoring to what takes events
    of one kind alone. Raises ParameterError for a code that is none.
    """
    time = patients[endpoint.months]
    if endpoint.event == "rfs_cause":
        cause = first_events(patients)["cause"].reindex(patients.index).astype(float)
    else:
        cause = patients[endpoint.event].astype(float)
        if wrong := sorted(set(cause.dropna()) - {0, 1, 2}):
            raise ParameterError(f"endpoint.event: {endpoint.event} holds {wrong[0]:g}, which is none of 0, 1 and 2")
    known = time.notna() & cause.notna()
    own = {endpoint.months, endpoint.event} - {"rfs_cause", *(name for pair in TIMES for name in pair)}
    time, cause = time.where(known), cause.where(known)
    event = (cause == 1).astype(float).where(known)
    return patients.drop(columns=own).assign(time_months=time, event=event, cause=cause)


def first_events(patients: pd.DataFrame) -> pd.DataFrame:
    """What ended recurrence-free survival: months, cause (0 censored, 1 recurrence, 2 death), how it is known.

    The column ``rfs_cause`` (recurrence, death) where it is filled. Else an event before the last contact, or at
    the last contact of a living patient, must be a recurrence; one in the month of death is taken for a death
    without recurrence. ``known_by`` is 'column', 'rule' or, for the censored, empty.
    """
    part = patients[patients["rfs_months"].notna() & patients["rfs_event"].notna()]
    event = part["rfs_event"] == 1
    died = (part["os_event"] == 1) & (part["rfs_months"] >= part["os_months"])
    cause = pd.Series(np.where(died, 2, 1), part.index)
    named = part["rfs_cause"] if "rfs_cause" in part else pd.Series(None, part.index, dtype=object)
    cause = named.map({"recurrence": 1, "death": 2}).fillna(cause)
    how = pd.Series(np.where(named.isin(["recurrence", "death"]), "column", "rule"), part.index)
    return pd.DataFrame(
        {
            "set": part["set"],
            "months": part["rfs_months"],
            "cause": cause.where(event, 0).astype(int),
            "known_by": how.where(event, ""),
        }
    )


def since(patients: pd.DataFrame, month: float) -> pd.DataFrame:
    """The same with times from ``month`` on; an end before it is unknown thereafter, and so is its event.

    Source: Anderson, Cain and Gelber 1983, doi:10.1200/JCO.1983.1.11.710.
    """
    table = patients.copy()
    for time, event in TIMES:
        before = ~(table[time] > month)
        table[time] = (table[time] - month).mask(before)
        table[event] = table[event].mask(before)
    table["cause"] = table["cause"].where(table["event"].notna())
    if "rfs_cause" in table:
        table["rfs_cause"] = table["rfs_cause"].where(table["rfs_event"].notna(), None)
    return table


def in_subset(patients: pd.DataFrame, subset: dict[str, Condition]) -> pd.Series:
    """Who meets every condition; nobody does of whom it is not known. ParameterError for a misspelt name or value."""
    kept = pd.Series(True, patients.index)
    for name, condition in subset.items():
        if name not in patients:
            raise ParameterError(f"subset: '{name}' is no column of the patients{suggest(name, list(patients))}")
        where, values, column = f"subset.{name}", patients[name], BY_NAME.get(name)
        numbers = pd.to_numeric(values, errors="coerce")
        if not condition.values:
            if (numbers.isna() & values.notna()).any():
                raise ParameterError(f"{where}: at_least and below are for numbers, and the column holds words")
            low, high = condition.at_least, condition.below
            kept &= (numbers >= (-np.inf if low is None else low)) & (numbers < (np.inf if high is None else high))
            continue
        if column is not None and column.kind == "number":
            raise ParameterError(f"{where} is a number; give at_least, below or both, as {{at_least: 60}}")
        codes = NATURAL_CODES.get(column.kind, {}) if column is not None else {}
        cells = values.map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell)).where(values.notna())
        folded, wanted = (
            cells.map(plain_code, na_action="ignore"),
            [codes.get(plain_code(v), v) for v in condition.values],
        )
        there = set(folded.dropna())
        for written, value in zip(condition.values, wanted, strict=True):
            if plain_code(value) not in there:
                known = sorted(set(cells.dropna()) | set(codes))
                near = suggest(written, known) if len(known) <= MOST_SHOWN else ""
                raise ParameterError(f"{where}: no patient has '{written}'{near}")
        kept &= folded.isin([plain_code(value) for value in wanted])
    return kept
