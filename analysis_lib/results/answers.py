"""The answer in which each notebook ends: two or three sentences with this run's numbers, from its tables.

One function a notebook; each takes tables as their CSV has them and returns text. ``Study.write_answer`` keeps it, and
the report shows it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis_lib.common.formatting import format_estimate, format_p, format_ratio, significance
from analysis_lib.core.parameters import CohortParams
from analysis_lib.core.question_params import Endpoint
from analysis_lib.results import MODEL

# The letter's Fig. 3 separates the groups of every definition but this.
LETTER_NOT_APART = "PD"
DEATH = Endpoint()


def cohort(patients: pd.DataFrame, exclusions: pd.DataFrame, sets: CohortParams, endpoint: Endpoint = DEATH) -> str:
    """01: how many are analysed by set, and how many are not."""
    counts = patients["set"].value_counts()
    parts = [f"{sets.label(name)} {counts[name]}" for name in sets.sets if name in counts]
    events = int(patients["event"].sum())
    text = f"{len(patients)} patients are analysed ({', '.join(parts)}); {events} of them {endpoint.had}."
    if exclusions.empty:
        return f"{text} Nobody was left out."
    stages = exclusions["stage"].value_counts(sort=False)
    return f"{text} Left out, or kept without a risk score: {listed(f'{n} at {stage}' for stage, n in stages.items())}."


def sarcopenia(table2: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """02: prevalence in the discovery set, and which hazard ratios leave 1 out."""
    first = table2[(table2["set"] == sets.discovery) & (table2["outcome"] == table2["outcome"].iloc[0])]
    text = f"In {sets.label(sets.discovery)} the definitions call {_range(first['prevalence'], '.0%')} sarcopenic."
    return f"{text} {_significant(table2, 'p', sets, confidence, f'P < {1 - confidence:.2f}')}"


def extended(table: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """13: what Benjamini-Hochberg and adjustment leave of the letter's hazard ratios."""
    paper = table[table["in_paper"].astype(bool)]
    kept = _significant(paper, "p_bh", sets, confidence, "after Benjamini-Hochberg")
    both = paper[paper["mi_hr"].notna() & paper["hr"].notna()]
    crossed = int(((both["hr"] > 1) != (both["mi_hr"] > 1)).sum())
    held = int((both["mi_p"] < significance(confidence)).sum())
    if both.empty:
        return f"{kept} No hazard ratio could be adjusted."
    return (
        f"{kept} After adjustment, {held} of {len(both)} hazard ratios are significant, and {crossed} lie on the other "
        "side of 1."
    )


def splines(annotations: pd.DataFrame, sets: CohortParams, endpoint: Endpoint = DEATH) -> str:
    """14: does the hazard change along each index of the discovery set, and does it bend (as the panels print)."""
    texts = "; ".join(f"{row.panel}, {row.text}" for row in annotations.itertuples())
    return (
        f"Hazard of {endpoint.noun} along each index in {listed(map(sets.label, sets.trained))}: {texts}. Where the "
        "curvature is not significant, a straight line does as well, and nothing shows that risk jumps at the cut-off."
    )


def radiomics(separations: pd.DataFrame, confidence: float) -> str:
    """03: which definitions the leading components tell apart, in each group of patients."""
    texts = []
    for patients, rows in separations.groupby("patients", sort=False):
        known = rows[rows["auc"].notna()]
        if known.empty:
            texts.append(f"In {patients} no definition has groups large enough for the components to be tried on them.")
            continue
        apart = known.loc[known["p_permutation"] < significance(confidence), "definition"]
        best = known.loc[known["auc"].idxmax()]
        texts.append(
            f"In {patients} the components separate {listed(apart) or 'no definition'} (permutation P < "
            f"{1 - confidence:.2f}), of {len(known)} that could be tried. The clearest is {best.definition}, AUC "
            f"{format_estimate(best.auc, best.low, best.high)} ({best.words})."
        )
    return " ".join([*texts, _letter_apart(separations)]).strip()


def _letter_apart(separations: pd.DataFrame) -> str:
    """Which definitions are told apart no better than the one that the letter does not see apart, in the last rows."""
    last = separations[separations["patients"] == separations["patients"].iloc[-1]].set_index("definition")
    last = last[last["auc"].notna()]
    if LETTER_NOT_APART not in last.index:
        return ""
    limit = last.at[LETTER_NOT_APART, "auc"]
    others = last.drop(index=LETTER_NOT_APART)
    like = [f"{row.Index} ({row.auc:.2f})" for row in others.itertuples() if row.low <= limit]
    found = f"{listed(like)} no better than {LETTER_NOT_APART} ({limit:.2f})" if like else "so they are"
    return (
        f"In the letter's figure the groups of all definitions but {LETTER_NOT_APART} are apart; here, in "
        f"{last['patients'].iloc[0]}, {found}."
    )


def model(kept: pd.DataFrame, compared: pd.DataFrame, sets: CohortParams) -> str:
    """04: what the code keeps, and whether two steps or one joint network does better in training."""
    means = compared.groupby("option", sort=False)["c_index"].mean()
    folds = f"Within the training patients the mean C-index over {compared['fold'].nunique()} folds is " + listed(
        f"{value:.2f} for {name}" for name, value in means.items()
    )
    if kept.empty:
        return f"The joint network keeps no decoder, so nothing says what its code keeps. {folds}."
    shares = [f"{row.autoencoder:.0%} in {sets.label(row.split)}" for row in kept.itertuples()]
    return f"The code keeps {listed(shares)} of the variance of the features. {folds}."


def importance(table: pd.DataFrame, sets: CohortParams) -> str:
    """04: which image type and which class cost most of the C-index when permuted, and how many networks agree."""
    known = table[table["loss"].notna() & table["kind"].isin(["image type", "class"])]
    texts = []
    for name, part in known.groupby("set", sort=False):
        most = [rows.loc[rows["loss"].idxmax()] for _, rows in part.groupby("kind", sort=False)]
        found = listed(f"{row.group} ({row.loss:.3f}, first in {row.share_first:.0%} of networks)" for row in most)
        texts.append(f"{sets.label(name)} {found}")
    if not texts:
        return "No test set can tell which features carry the risk."
    return f"Image type and class of features whose permutation costs most of the C-index: {'; '.join(texts)}."


def risk_groups(groups: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """05: hazard ratio of high against low risk in every test set."""
    tested = groups[groups["set"] != "train"]
    if tested.empty:
        return "There is no test set, so nothing says whether the risk groups hold in patients the model has not seen."
    ratios = [f"{sets.label(r.set)} {format_ratio(r.hr, r.hr_low, r.hr_high)}" for r in tested.itertuples()]
    known = tested["p_logrank"].dropna()
    held = int((known < significance(confidence)).sum())
    return (
        f"Hazard ratio of high against low risk in patients the model has not seen: {', '.join(ratios)}. The log-rank "
        f"test is significant in {held} of the {len(known)} test sets that have both groups."
    )


def discrimination(c_index: pd.DataFrame, difference: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """06: the model's C-index in the test sets, and against how many definitions it is the better one."""
    own = c_index[(c_index["model"] == MODEL) & (c_index["set"] != "train")]
    if own.empty:
        return "There is no test set, so the model's C-index in unseen patients is not known."
    values = [f"{sets.label(r.set)} {format_estimate(r.c_index, r.low, r.high)}" for r in own.itertuples()]
    pairs = difference[(difference["set"] != "train") & difference["difference"].notna()]
    definite = pairs[~pairs["model"].str.endswith(" continuous")]
    continuous = pairs[pairs["model"].str.endswith(" continuous")]
    better = pairs[(pairs["p"] < significance(confidence)) & (pairs["difference"] > 0)]
    counts = [
        f"{part.index.isin(better.index).sum()} of {len(part)} comparisons with {what}"
        for part, what in ((definite, "a definition"), (continuous, "a continuous index"))
    ]
    return f"C-index of {MODEL}: {', '.join(values)}. It is significantly the better one in {' and '.join(counts)}."


def published(comparison: pd.DataFrame, intervals: pd.DataFrame, note: str) -> str:
    """07: how many printed numbers lie inside our intervals; ``note`` says what that is worth on synthetic data."""
    known = comparison[comparison["inside"].notna()]
    inside = int(known["inside"].astype(bool).sum())
    text = f"{inside} of the {len(known)} printed numbers that have an interval here lie inside it."
    if len(intervals):
        times = intervals["width_bootstrap"] / intervals["width_published"]
        text += f" Our intervals of the C-index are {_range(times, '.0f')} times as wide as the letter's."
    return f"{text} {note}".strip()


def beyond(calibration: pd.DataFrame, incidence: pd.DataFrame, sets: CohortParams, endpoint: Endpoint = DEATH) -> str:
    """09: predicted against observed events at the last horizon, and what the naive estimate of recurrence adds."""
    text = f"{last_horizon(calibration, sets, endpoint)} {_too_many(calibration, sets, endpoint)}".strip()
    recurrence = incidence[incidence["cause"] == "Recurrence"]
    if recurrence.empty:
        return f"{text} Recurrence is not known."
    excess = (recurrence["naive"] - recurrence["incidence"]).max()
    return (
        f"{text} Taking deaths for censored would overstate recurrence by up to {100 * excess:.0f} percentage points."
    )


def subgroups(table: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """09: between which subgroups the C-index differs, which O/E is not 1, and how many are too small to say."""
    parts = table[table["subgroup"] != "all"]
    compared, limit = parts[parts["p"].notna()], significance(confidence)
    apart = compared[compared["p"] < limit]
    wrong = parts[(parts["ratio_high"] < 1) | (parts["ratio_low"] > 1)]
    differ, wrong = (
        listed(f"{sets.label(row.set)}, {row.level}" for row in rows.itertuples()) for rows in (apart, wrong)
    )
    return (
        f"Of {len(compared)} differences of the C-index between subgroups by sex, age or centre, {len(apart)} are "
        f"significant{f' ({differ})' if differ else ''}; O/E is not 1 in {wrong or 'none'}; "
        f"{int(parts['c_index'].isna().sum())} of {len(parts)} subgroups are too small to say."
    )


def last_horizon(calibration: pd.DataFrame, sets: CohortParams, endpoint: Endpoint = DEATH) -> str:
    """Events predicted and observed by the last horizon, in each set that is followed so long."""
    last = calibration["month"].max() if len(calibration) else float("nan")
    rows = calibration[(calibration["month"] == last) & calibration["observed"].notna()]
    texts = [
        f"{sets.label(r.set)} {r.predicted:.0%} predicted and {r.observed:.0%} observed" for r in rows.itertuples()
    ]
    found = f"Risk of {endpoint.noun} by {last:g} months: {listed(texts)}."
    return found if texts else "No test set is followed long enough."


def _too_many(calibration: pd.DataFrame, sets: CohortParams, endpoint: Endpoint) -> str:
    """Observed over predicted events (O/E) by set, and where its interval lies on one side of 1."""
    rows = calibration[calibration["ratio"].notna()]
    if rows.empty:
        return ""
    parts = [f"{sets.label(name)} {_range(part['ratio'], '.2f')}" for name, part in rows.groupby("set", sort=False)]
    text = f"Observed over predicted {endpoint.plural} (O/E): {', '.join(parts)}."
    found = []
    for what, wrong in (("too many", rows["ratio_high"] < 1), ("too few", rows["ratio_low"] > 1)):
        where = [
            f"{sets.label(name)} (at {listed(f'{month:g}' for month in part['month'])} months)"
            for name, part in rows[wrong].groupby("set", sort=False)
        ]
        found += [f"{what} {endpoint.plural} in {listed(where)}"] if where else []
    return f"{text} {MODEL} predicts {' and '.join(found)}." if found else f"{text} Every interval holds 1."


def stability(lowest: pd.Series, used: int, min_icc: float) -> str:
    """10: how many features repeat themselves, and how many the model uses. ``lowest``: lowest ICC by feature."""
    good = int((lowest >= 0.75).sum())
    return (
        f"{good} of {len(lowest)} features have an ICC of 0.75 or more under every disturbance of mask, bins and "
        f"noise. With features.min_icc {min_icc:g} the model uses {used}."
    )


def small_data(summary: pd.DataFrame) -> str:
    """11: the training C-index, what correction leaves of it, and how far single splits scatter."""
    value = summary.set_index("quantity")
    texts = [f"The C-index in the training patients is {value.at['training', 'value']:.2f}"]
    for quantity, what in (("training, .632+", "by .632+"), ("training, corrected", "by Harrell's correction")):
        if quantity in value.index:
            texts.append(f"{value.at[quantity, 'value']:.2f} {what}")
    text = f"{', '.join(texts)}."
    if {"training, .632+", "training, corrected"} <= set(value.index):
        more = value.at["training, corrected", "value"] < value.at["training, .632+", "value"]
        text += " Harrell's correction takes off more." if more else " The .632+ estimate takes off more."
    wider = value[value.index.str.endswith(", any model")]
    if len(wider):
        fixed = value.loc[wider.index.str.removesuffix(", any model")]
        ratio = ((wider["high"] - wider["low"]).to_numpy() / (fixed["high"] - fixed["low"]).to_numpy()).mean()
        text += (
            " Intervals of the C-index in the test sets that count the model's own uncertainty are "
            f"{ratio:.2f} times as wide as those of the model as it stands."
        )
    if "repeated splits" not in value.index:
        return f"{text} No other split was tried."
    split = value.loc["repeated splits"]
    scatter = format_estimate(split["value"], split["low"], split["high"])
    return f"{text} In unseen patients of {split['n']:.0f} random splits it is {scatter}."


def added_value(brier: pd.DataFrame, added: pd.DataFrame, sets: CohortParams, confidence: float) -> str:
    """12: skill of the model's predictions, and where its risk adds to what is known."""
    own = brier[(brier["model"] == MODEL) & (brier["month"].astype(str) == "integral") & brier["skill"].notna()]
    skills = listed(f"{sets.label(r.set)} {r.skill:.0%}" for r in own.itertuples())
    text = f"Share of the Brier score that {MODEL} removes: {skills}." if skills else "No Brier score could be had."
    known = added[added["p"].notna()]
    gains = known[known["p"] < significance(confidence)]
    where = listed(f"{sets.label(r.set)} beside {r.added_to.lower()} ({format_p(r.p)})" for r in gains.itertuples())
    return f"{text} The risk adds significantly in {len(gains)} of {len(known)} tests{f': {where}' if where else ''}."


def multiverse(ratios: pd.DataFrame, gains: pd.DataFrame, confidence: float) -> str:
    """15: how the choices of an analyst would have moved hazard ratios and the model's gain."""
    texts = []
    for table, value, reference, what in ((ratios, "hr", 1.0, "hazard ratio"), (gains, "gain", 0.0, "gain in C-index")):
        known = table[table[value].notna()]
        above, small = (known[value] > reference).mean(), (known["p"] < significance(confidence)).mean()
        texts.append(
            f"Over {len(known)} specifications the median {what} is {known[value].median():.2f}, above "
            f"{reference:g} in {above:.0%}, and significant in {small:.0%}."
        )
    return " ".join(texts)


def validation(
    c_index: pd.DataFrame,
    calibration: pd.DataFrame,
    case_mix: pd.DataFrame,
    study: str,
    sets: CohortParams,
    endpoint: Endpoint = DEATH,
) -> str:
    """17: the saved model's C-index in each set, events predicted and observed by the last horizon, who is unlike."""
    own = c_index[c_index["model"] == MODEL]
    values = [f"{sets.label(r.set)} {format_estimate(r.c_index, r.low, r.high)}" for r in own.itertuples()]
    unlike = case_mix[case_mix["characteristic"] == "unlike_training"]
    shares = [f"{r.value:.0%} of {sets.label(r.set)}" for r in unlike.itertuples()]
    return (
        f"C-index of the model of study {study}: {', '.join(values)}. {last_horizon(calibration, sets, endpoint)} "
        f"{_too_many(calibration, sets, endpoint)} Unlike its training patients are {listed(shares)}."
    )


def search(trials: pd.DataFrame) -> str:
    """16: the best trial beside the study's own values."""
    done = trials[trials["value"].notna()]
    own = done.loc[done["trial"] == 1, "value"]
    best = done.loc[done["value"].idxmin()]
    text = f"The best of {len(done)} trials is number {best['trial']:.0f}, loss per event {best['value']:.4f}"
    return f"{text}; the study's own values have {own.iloc[0]:.4f}." if len(own) else f"{text}."


def _significant(table: pd.DataFrame, p: str, sets: CohortParams, confidence: float, how: str) -> str:
    """Which definitions go with a longer or shorter survival, by set and outcome."""
    found = []
    for (name, outcome), part in table.groupby(["set", "outcome"], sort=False):
        if definitions := part.loc[part[p] < significance(confidence), "definition"].tolist():
            found.append(f"{listed(definitions)} ({sets.label(name)}, {outcome})")
    tried = int(table[p].notna().sum())
    return f"Of {tried} hazard ratios, significant ({how}) are: {'; '.join(found) or 'none'}."


def _range(values: pd.Series, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def listed(parts: Iterable[object]) -> str:
    """'a, b and c'."""
    *first, last = [*parts] or [""]
    return f"{', '.join(map(str, first))} and {last}" if first else str(last)
