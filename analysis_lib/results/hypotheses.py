"""Hypotheses of a study before it looks: what each definition and the model should show, and what is printed of it."""

from __future__ import annotations

import math

import pandas as pd

from analysis_lib.common.distributions import norm
from analysis_lib.common.formatting import significance
from analysis_lib.core.parameters import Params
from analysis_lib.core.question_params import cox_text, cuts_text
from analysis_lib.results import MODEL

COLUMNS = ["hypothesis", "statement", "estimand", "test", "set", "outcome"]
COLUMNS += ["published", "published_low", "published_high", "published_p", "events_needed", "of"]
NAN = float("nan")


def events_needed(ratio: float, share: float, level: float, power: float) -> float:
    """Events at which a two-sided test finds a hazard ratio between groups, ``share`` of all in one of them.

    Schoenfeld 1983, 10.2307/2531021. NaN for a ratio of 1 or an empty group, which no number would tell.
    """
    if not 0 < share < 1 or not ratio > 0 or ratio == 1:
        return NAN
    return math.ceil((norm.ppf(1 - level / 2) + norm.ppf(power)) ** 2 / (share * (1 - share) * math.log(ratio) ** 2))


def hypotheses(params: Params, printed: dict) -> pd.DataFrame:
    """Rows of hypothesis (H1, ...), set and outcome: statement, estimand, test, printed numbers, events for the power.

    ``printed`` as from ``published.printed_numbers``. Published and events needed (``multiverse.power_wanted``, at the
    printed ratio and prevalence) are NaN where nothing is printed. A set of a name that is not printed has the first
    printed set beside it, which ``of`` then names.
    """
    cohort, s = params.cohort, params.statistics
    level, wanted = significance(s.confidence), params.multiverse.power_wanted
    rows: list[dict] = []

    def state(statement: str, estimand: str, test: str, cells: list[tuple]) -> None:
        number = len({row["hypothesis"] for row in rows}) + 1
        said = (f"H{number}", statement, estimand, test)
        rows.extend(dict(zip(COLUMNS, (*said, *cell), strict=True)) for cell in cells)

    wald = f"Cox regression on the definition alone, Efron's ties, two-sided Wald test. {cox_text(params.cox)}".strip()
    for key, definition in params.definitions.items():
        cells: list[tuple] = []
        for name in cohort.sets:
            of = "" if name in printed["table2"] else next(iter(printed["table2"]), "")
            found = printed["table2"].get(of or name, {}).get(key, {})
            for outcome in s.outcomes:
                ratio, low, high, p = found.get(outcome, [NAN] * 4)
                share = found["n"][1] / 100 if outcome in found else NAN
                cells.append((name, outcome, ratio, low, high, p, events_needed(ratio, share, level, wanted), of))
        statement = f"Patients below the cut-off of {key} ({definition.source}) have the event sooner than the others."
        state(statement, "hazard ratio, sarcopenic against the others, above 1", wald, cells)
    short = params.endpoint.short
    for name, entry in printed["per_sd"].items():
        if name in cohort.sets and "OS" in s.outcomes:
            statement = f"One SD more of {entry['marker']} within a sex goes with later death."
            ratio, p = entry["OS"]
            test = "Cox regression on the index, two-sided Wald test."
            state(statement, "hazard ratio per SD, below 1", test, [(name, "OS", ratio, NAN, NAN, p, NAN, "")])
    if not params.radiomics:
        return pd.DataFrame(rows, columns=COLUMNS)
    bootstrap = f"percentile interval of {s.bootstrap_replicates:,} bootstrap samples of patients"
    cells = [(name, short, *printed["c_index"].get(name, [NAN] * 3), NAN, NAN, "") for name in cohort.test_sets]
    statement = f"{MODEL} tells who of the patients that it has not seen has the event sooner."
    state(statement, "Harrell's C-index above 0.5", f"0.5 outside the {bootstrap}.", cells)
    alone = [(name, short, NAN, NAN, NAN, NAN, NAN, "") for name in cohort.test_sets]
    statement = f"{MODEL} does so better than each of {', '.join(params.definitions)}."
    state(statement, "difference of C-indices above 0, by definition", f"Paired, 0 outside the {bootstrap}.", alone)
    statement = f"Patients of higher risk, cut at {cuts_text(params.risk_groups)}, have the event sooner."
    test = "Cox regression on the group, Efron's ties, two-sided Wald test."
    state(statement, "hazard ratio, high against low risk, above 1", test, alone)
    return pd.DataFrame(rows, columns=COLUMNS)
