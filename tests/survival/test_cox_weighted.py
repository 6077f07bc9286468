"""Cox regression with strata, late entry and weights, and of competing events, against R; what R says is in reference/.

R: coxph(Surv(entry, months, cause > 0) ~ nodes + strata(cohort), d, weights = weight, cluster = id), survdiff,
coxph(Surv(fgstart, fgstop, fgstatus) ~ nodes + cluster(id), finegray(...), weights = fgwt), cuminc
(make_question_reference.R).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2, norm

from analysis_lib.survival import survival
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.cox_weighted import cox_weighted, fine_gray, gray_test, score_test, varying_within

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def r() -> dict[str, float]:
    return pd.read_csv(REFERENCE / "question_values.csv").set_index("quantity")["value"].to_dict()


@pytest.fixture(scope="module")
def patients() -> pd.DataFrame:
    table = pd.read_csv(REFERENCE / "stratos_competing.csv")
    months = table["years"] * 12
    entry = np.maximum(0, np.minimum(months - 0.5, (table["age"] - 65) / 2))
    weights = np.where(table["receptor"] == 1, 0.5, 1.5)
    return table.assign(months=months, dead=table["cause"] > 0, entry=entry, weights=weights, strata=table["cohort"])


def options_of(patients: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    return {name: patients[name].to_numpy() for name in names}


OPTIONS = [("strata", ["strata"]), ("entry", ["entry"]), ("weights", ["weights"])]


@pytest.mark.parametrize(("name", "given"), [*OPTIONS, ("all", ["strata", "entry", "weights"])])
def test_ratio_and_interval_are_those_of_r(patients, r, name, given):
    columns = ["age", "nodes"] if name == "all" else ["nodes"]  # adjusted for age
    x = patients[columns].to_numpy(float)
    fit = cox_weighted(patients["months"], patients["dead"], x, **options_of(patients, given))
    beta, variance = fit.coefficients[-1], (fit.robust if "weights" in given else fit.covariance)[-1, -1]
    ends = beta + norm.ppf([0.025, 0.975]) * np.sqrt(variance)
    found = [*np.exp([beta, *ends]), 2 * norm.sf(abs(beta) / np.sqrt(variance))]
    assert found == pytest.approx([r[f"{name}_{key}"] for key in ("hr", "low", "high", "p")], rel=1e-8)
    assert (fit.n, fit.n_events) == (len(patients), patients["dead"].sum())


LATE = [("entry", ["entry"]), ("weights", ["weights"]), ("all", ["entry", "weights"])]  # a curve knows no strata


@pytest.mark.parametrize(("name", "given"), LATE)
def test_curves_and_medians_of_who_enters_late_or_counts_more(patients, r, name, given):
    """R: survfit(Surv(entry, months, cause > 0) ~ 1, d, weights = weight, conf.type = "log-log"), quantile(., 0.5)."""
    late, outcome = options_of(patients, given), (patients["months"], patients["dead"])
    curve = survival.kaplan_meier(*outcome, 0.95, **late).set_index("month")
    for k in (1, 100, 300):
        month = r[f"km_{name}_{k}_time"]
        row = curve.iloc[np.abs(curve.index - month).argmin()]
        for ours, theirs in (("survival", "surv"), ("low", "lower"), ("high", "upper"), ("at_risk", "n.risk")):
            assert row[ours] == pytest.approx(r[f"km_{name}_{k}_{theirs}"], rel=1e-9), (k, ours)
        assert survival.numbers_at_risk(patients["months"], [month - 1e-9], **late)[0] == row["at_risk"]
    old = patients[(patients["age"] >= 80) & (patients["nodes"] == 1)]
    found = survival.median_interval(old["months"], old["dead"], 0.95, **options_of(old, given))
    expected = [r[f"median_{name}{end}"] for end in ("", "_low", "_high")]
    assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)
    if name == "all":
        follow_up = survival.median_follow_up(*outcome, 0.95, **late)
        assert follow_up[0] == pytest.approx(r["median_follow_up"], rel=1e-9)


def test_logrank_by_strata_entry_and_weights(patients, r):
    """R: survdiff(strata(cohort)); score test of coxph(Surv(entry, months, event)); coxph(weights, cluster)$rscore."""
    months, dead, third = patients["months"], patients["dead"], (patients["age"] >= 72) + 1 * (patients["age"] >= 77)
    untied = months + np.arange(1, len(patients) + 1) / 1e6  # R has Breslow's ties with entry
    for name, given in (*OPTIONS, ("all", ["strata", "entry", "weights"])):
        time = untied if name == "entry" else months
        found = survival.logrank_p(time, dead, patients["nodes"], **options_of(patients, given))
        assert found == pytest.approx(r[f"logrank_{name}"], rel=1e-6), name
    for given, name in ((["entry", "weights"], "three"), (["strata"], "three_strata")):
        found = survival.logrank_p(months, dead, third, **options_of(patients, given))
        assert found == pytest.approx(r[f"logrank_{name}"], rel=1e-6), name
    # weights of one, entry at 0 and one stratum are the plain test
    one = {"entry": np.zeros(len(patients)), "strata": np.ones(len(patients))}
    assert survival.logrank_p(months, dead, third, **one) == pytest.approx(survival.logrank_p(months, dead, third))


def test_a_column_that_varies_in_no_stratum_has_no_coefficient():
    x = pd.DataFrame({"two values": [0, 1, 0, 1], "constant within": [1, 1, 2, 2], "last": [1, 1, 2, 2]})
    assert varying_within(x, [1, 1, 2, 2]) == ["two values", "last"]
    assert varying_within(x.assign(last=0), None) == ["two values", "constant within", "last"]


@pytest.mark.parametrize("of", [1, 2])
@pytest.mark.parametrize("time", ["months", "ties"])
def test_competing_events_are_those_of_r(patients, r, time, of):
    months, name = patients["months"] if time == "months" else np.ceil(patients["years"]), f"{time}_{of}"
    fit = fine_gray(months, patients["cause"], patients["nodes"], of)
    assert np.exp(fit.coefficients[0]) == pytest.approx(r[f"fine_gray_{name}_hr"], rel=1e-8)
    half = norm.ppf(0.975) * np.sqrt(fit.robust[0, 0])
    assert np.exp(fit.coefficients[0] - half) == pytest.approx(r[f"fine_gray_{name}_low"], rel=1e-8)
    statistic, p = gray_test(months, patients["cause"], patients["nodes"] == 1, of)
    assert statistic == pytest.approx(r[f"gray_{name}_chisq"], rel=1e-9)
    assert p == pytest.approx(chi2.sf(statistic, 1), rel=1e-12)
    # which group is called the first is nobody's business
    assert gray_test(months, patients["cause"], patients["nodes"] != 1, of)[0] == pytest.approx(statistic, rel=1e-9)


def small(n: int = 40, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months with ties, deaths, and two covariates of which the first matters."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time, censored = np.ceil(rng.exponential(6 / np.exp(x[:, 0]))), np.ceil(rng.uniform(2, 15, n))
    return np.minimum(time, censored), time <= censored, x


def log_likelihood(beta, time, dead, x, weight, entry, strata) -> float:
    """Efron's, term by term."""
    eta, value = x @ beta, 0.0
    for stratum in np.unique(strata):
        for month in np.unique(time[dead & (strata == stratum)]):
            now = dead & (time == month) & (strata == stratum)
            at_risk = (time >= month) & (entry < month) & (strata == stratum)
            risk, tied = (np.sum(weight[who] * np.exp(eta[who])) for who in (at_risk, now))
            value += np.sum(weight[now] * eta[now])
            value -= weight[now].mean() * sum(np.log(risk - k / now.sum() * tied) for k in range(now.sum()))
    return value


def test_ties_weights_entry_and_strata_at_once_maximise_the_likelihood():
    time, dead, x = small()
    rng = np.random.default_rng(1)
    weight, strata = rng.uniform(0.5, 2, len(time)), rng.integers(0, 2, len(time))
    entry = np.where(rng.random(len(time)) < 0.3, time / 2, -1.0)
    fit = cox_weighted(time, dead, x, entry=entry, weights=weight, strata=strata)
    best = minimize(lambda b: -log_likelihood(b, time, dead, x, weight, entry, strata), [0, 0], tol=1e-12)
    assert fit.coefficients == pytest.approx(best.x, abs=1e-5)


def test_nothing_asked_is_the_plain_regression():
    time, dead, x = small()
    fit, plain = cox_weighted(time, dead, x), cox_fit(time, dead, x)
    assert fit.coefficients == pytest.approx(plain.coefficients, rel=1e-9)
    assert fit.covariance == pytest.approx(plain.covariance, rel=1e-8)
    one = cox_weighted(time, dead, x[:, 0])
    assert one.coefficients == pytest.approx(cox_fit(time, dead, x[:, :1]).coefficients, rel=1e-9)
    groups = (x[:, :1] > 0).astype(float)
    assert score_test(time, dead, groups) == pytest.approx(survival.logrank_p(time, dead, groups[:, 0]), rel=1e-9)


def test_steps_that_overshoot_are_halved():
    rng = np.random.default_rng(1)
    x = np.exp(2.5 * rng.standard_normal(60))
    time = rng.exponential(1 / np.exp(0.5 * np.log(x)))
    fit, plain = cox_weighted(time, np.ones(60), x), cox_fit(time, np.ones(60), x)
    assert fit.coefficients == pytest.approx(plain.coefficients, rel=1e-6)


@pytest.mark.parametrize(
    ("time", "dead", "x", "says"),
    [
        ([], [], [], "no patient"),
        ([1.0, 2.0], [0, 0], [0.0, 1.0], "no event"),
        ([1.0, 2.0], [1, 0], [1.0, 1.0], "one value only"),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], [1.0, 1.0, 0.0, 0.0], "separate the events"),
    ],
)
def test_what_has_no_finite_estimate_says_why(time, dead, x, says):
    with pytest.raises(NoFiniteEstimate, match=says):
        cox_weighted(time, dead, x)


def by_hand_gray(time, cause, member, of) -> float:
    """Gray's score, without his variance: events of the group less those expected of its subdistribution risk set."""
    score, alive, incidence = 0.0, {True: 1.0, False: 1.0}, {True: 0.0, False: 0.0}
    for month in np.unique(time[cause != 0]):
        sizes, events = {}, {}
        for side in (True, False):
            own = member == side
            at_risk = np.sum(own & (time >= month))
            events[side] = np.sum(own & (cause == of) & (time == month))
            sizes[side] = at_risk * (1 - incidence[side]) / alive[side] if at_risk else 0.0
        d = events[True] + events[False]
        score += events[True] - d * sizes[True] / (sizes[True] + sizes[False])
        for side in (True, False):
            own = member == side
            if at_risk := np.sum(own & (time >= month)):
                incidence[side] += alive[side] * events[side] / at_risk
                alive[side] *= 1 - np.sum(own & (cause != 0) & (time == month)) / at_risk
    return score


def test_gray_divides_the_score_by_its_variance_and_has_nothing_without_a_contrast():
    rng = np.random.default_rng(3)
    time, cause = np.ceil(rng.exponential(8, 60)), rng.integers(0, 3, 60)
    member = rng.random(60) < 0.5
    dealt = [rng.permutation(member) for _ in range(400)]
    for of in (1, 2):
        score = by_hand_gray(time, cause, member, of)
        variance = score**2 / gray_test(time, cause, member, of)[0]
        # what the score varies by when the group is dealt anew
        assert variance == pytest.approx(np.var([by_hand_gray(time, cause, one, of) for one in dealt]), rel=0.2)
    twice = np.concatenate([time, time]), np.concatenate([cause, cause]), np.repeat([True, False], 60)
    assert gray_test(*twice)[0] == pytest.approx(0, abs=1e-20) and gray_test(*twice)[1] == pytest.approx(1)
    for nobody in (np.ones(60, bool), np.zeros(60, bool)):
        assert np.isnan(gray_test(time, cause, nobody)).all()
    assert np.isnan(gray_test(time, np.where(cause == 1, 0, cause), member)).all()


ENDS = [
    ([1, 2, 2, 3, 3, 4, 1, 2, 3, 4, 5, 6, 7], [1, 1, 2, 1, 0, 1, 2, 1, 1, 0, 1, 2, 1], 6),
    ([1, 2, 3, 3, 3, 2, 4, 4, 5], [1, 1, 1, 1, 2, 1, 1, 2, 1], 5),
]
GRAY = [[2.1543784829615311, 0.002984515323813026], [1.937967451557097, 0.74745273950656888]]


@pytest.mark.parametrize(("data", "expected"), list(zip(ENDS, GRAY, strict=True)))
def test_gray_where_a_group_ends_before_the_other(data, expected):
    """R: cuminc(time, cause, group)$Tests[of, "stat"], cmprsk 2.2-11."""
    time, cause, first = data
    group = np.arange(len(time)) >= first
    for of, statistic in enumerate(expected, start=1):
        assert gray_test(time, cause, group, of)[0] == pytest.approx(statistic, rel=1e-12)
