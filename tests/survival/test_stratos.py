"""The STRATOS examples of prediction-model validation: what they print, from their data.

McLernon 2023, doi 10.7326/M22-0844 (github.com/danielegiardiello/Prediction_performance_survival): a Cox model of the
Rotterdam breast cancer patients, with and without progesterone, judged at five years in the German Breast Cancer Study
Group. van Geloven 2022, doi 10.1136/bmj-2021-069249 (github.com/survival-lumc/ValidationCompRisks): recurrence with
death as a competing risk. tests/reference/make_stratos_tables.R made the tables.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from analysis_lib.survival import competing, evaluation, resampling, survival
from analysis_lib.survival.analytic import c_index_analytic
from analysis_lib.survival.cox import _likelihood, _prepare, _solve, cox_fit
from analysis_lib.survival.decision import net_benefit

REFERENCE = Path(__file__).parents[1] / "reference"
YEARS, JUST_BEFORE = 5.0, 4.99  # their scripts take AUC and Brier score just before
MODELS = {"": 5, ", with PGR": 7}  # columns of each


def printed(text: str) -> dict[str, str]:
    """{quantity: number as printed} of lines "quantity = number number ..."; several get their place as a name."""
    ends = ("", ", low", ", high")
    lines = [line.split(" = ") for line in text.strip().splitlines()]
    return {name.strip() + end: value for name, given in lines for end, value in zip(ends, given.split(), strict=False)}


def halves(numbers: dict[str, str]) -> dict[str, float]:
    """Half of the last printed digit of each."""
    return {name: 0.500001 * 10.0 ** -len(number.partition(".")[2]) for name, number in numbers.items()}


def efron_hazard(time, event, log_risk, centre):
    """As ``breslow_hazard``, but of tied deaths each leaves the risk set by its share, as R does after Efron's fit."""
    weight, dead = np.exp(log_risk - centre), np.asarray(event, bool)
    months = np.unique(time[dead])
    tied = [weight[(time == month) & dead] for month in months]
    steps = [
        np.sum(1 / (weight[time >= month].sum() - np.arange(len(own)) / len(own) * own.sum()))
        for month, own in zip(months, tied, strict=True)
    ]
    return months, np.cumsum(steps)


def stopped_fit(time, event, x):
    """As ``cox_fit``, but ended as R's rms::cph ends: once a step raises the log-likelihood by less than 1e-4 of it."""
    risk = _prepare(time, event, x, "efron", None)
    beta = np.zeros(risk.x.shape[1])
    value, gradient, information = _likelihood(risk, beta, False)
    while True:
        beta = beta + _solve(information, gradient)
        before, (value, gradient, information) = value, _likelihood(risk, beta, False)
        if abs(1 - before / value) <= 1e-4:
            return SimpleNamespace(coefficients=beta / risk.scale)


@pytest.fixture(scope="module")
def breast():
    """{cohort: (years, event, columns)} within five years; columns are size, nodes and grade, then PGR."""
    found = {}
    for cohort, table in pd.read_csv(REFERENCE / "stratos_breast.csv").groupby("cohort"):
        years = table["days"].to_numpy() / 365.25
        # the 99th percentile of the development data is the largest value; knots as in their scripts
        nodes, pgr = np.minimum(table["nodes"], 19.0), np.minimum(table["pgr"], 1360.0)
        columns = [table["size"] == 1, table["size"] == 2]
        columns += list(evaluation.restricted_cubic_spline(nodes, [0, 1, 9]).T) + [table["grade3"]]
        columns += list(evaluation.restricted_cubic_spline(pgr, [0, 41, 486]).T)
        event = table["event"].to_numpy(bool) & (years <= YEARS)
        found[cohort] = np.minimum(years, YEARS), event, np.column_stack(columns).astype(float)
    return found


DEVELOPMENT = printed("""
    20-50 mm = 0.34184
    >50 mm = 0.57355
    nodes = 0.30397
    nodes' = -0.81117
    grade 3 = 0.36171
    20-50 mm, SE = 0.06542
    >50 mm, SE = 0.09248
    nodes, SE = 0.02810
    nodes', SE = 0.10461
    grade 3, SE = 0.07133
    likelihood ratio = 531.00
    patients = 2982
    events = 1275
    baseline survival at 5 years = 0.804
    Harrell's C = 0.682 0.667 0.697
    Uno's C = 0.682
    AUC at 5 years = 0.721
    Brier score = 0.207
    scaled Brier score = 0.155
    net benefit at 23% = 0.267
    net benefit of treating all = 0.263
    20-50 mm, with PGR = 0.3204
    >50 mm, with PGR = 0.5542
    nodes, with PGR = 0.3050
    nodes', with PGR = -0.8198
    grade 3, with PGR = 0.3052
    PGR, with PGR = -0.0029
    PGR', with PGR = 0.0127
    likelihood ratio, with PGR = 563.19
    baseline survival at 5 years, with PGR = 0.761
    Harrell's C, with PGR = 0.689 0.674 0.703
    Uno's C, with PGR = 0.688
    AUC at 5 years, with PGR = 0.727
    Brier score, with PGR = 0.206
    scaled Brier score, with PGR = 0.161
    net benefit at 23%, with PGR = 0.273
""")
COVARIATES = ("20-50 mm", ">50 mm", "nodes", "nodes'", "grade 3", "PGR", "PGR'")


def judged(breast, cohort, model) -> dict[str, float]:
    """What both cohorts are judged by."""
    years, event, columns = breast["rotterdam"]
    fit = cox_fit(years, event, columns[:, : MODELS[model]])
    own = columns[:, : MODELS[model]] @ fit.coefficients
    outcome = breast[cohort][:2]
    risk = breast[cohort][2][:, : MODELS[model]] @ fit.coefficients
    early, late = evaluation.predicted_survival((years, event), own, risk, [JUST_BEFORE, YEARS]).T
    c = c_index_analytic(*outcome, risk, 0.95)
    ones = np.ones((1, len(risk)), dtype=np.uint16)
    score = evaluation.brier(*outcome, early[:, None], [JUST_BEFORE]).iloc[0]
    gains = net_benefit(*outcome, 1 - late[:, None], ["model"], [0.23], YEARS, 100, 0.95, 1).set_index("model")[
        "net_benefit"
    ]
    found = {
        "Harrell's C": c["c_index"], "Harrell's C, low": c["low"], "Harrell's C, high": c["high"],
        "Uno's C": survival.uno_c_index(*outcome, risk),
        "AUC at 5 years": resampling.auc_replicates(*outcome, risk, [JUST_BEFORE], 1, 0, counts=ones)[0, 0, 0],
        "Brier score": score["brier"], "scaled Brier score": score["skill"],
        "net benefit at 23%": gains["model"], "net benefit of treating all": gains["all"],
    }  # fmt: skip
    ends = {name: next((end for end in (", low", ", high") if name.endswith(end)), "") for name in found}
    named = {name.removesuffix(end) + model + end: found[name] for name, end in ends.items()}
    if model:
        named.pop("net benefit of treating all" + model)
    return named


def test_development(breast, evidence):
    years, event, columns = breast["rotterdam"]
    ours = {"patients": len(years), "events": event.sum()}
    for model, k in MODELS.items():
        fit = cox_fit(years, event, columns[:, :k])
        ours |= {name + model: value for name, value in zip(COVARIATES, fit.coefficients, strict=False)}
        if not model:
            errors = np.sqrt(np.diag(fit.covariance))
            ours |= {f"{name}, SE": value for name, value in zip(COVARIATES, errors, strict=False)}
        baseline = evaluation.predicted_survival((years, event), columns[:, :k] @ fit.coefficients, [0.0], [YEARS])
        ours |= {
            f"likelihood ratio{model}": fit.likelihood_ratio[0],
            f"baseline survival at 5 years{model}": baseline.item(),
        }
        ours |= judged(breast, "rotterdam", model)
    evidence(
        "stratos-development",
        "survival",
        "STRATOS example, Cox model of 2982 Rotterdam patients and its apparent performance; to the printed digit",
        "R's survival, riskRegression and timeROC in McLernon 2023, [doi](https://doi.org/10.7326/M22-0844)",
        theirs={name: float(number) for name, number in DEVELOPMENT.items()},
        ours={name: ours[name] for name in DEVELOPMENT},
        atol=halves(DEVELOPMENT),
    )


VALIDATION = printed("""
    survival at 5 years = 0.49 0.45 0.54
    Harrell's C = 0.652 0.620 0.685
    Uno's C = 0.635
    AUC at 5 years = 0.677
    slope = 1.0562040 0.8158872 1.2965207
    Brier score = 0.225
    scaled Brier score = 0.101
    net benefit at 23% = 0.3615002
    net benefit of treating all = 0.3615002
    observed / expected = 1.0173902
    ICI = 0.03017958
    E50 = 0.02627822
    E90 = 0.07466548
    Emax = 0.07543556
    observed / expected, Efron's baseline = 1.0173902
    ICI, Efron's baseline, stopped early = 0.03017958
    E50, Efron's baseline, stopped early = 0.02627822
    E90, Efron's baseline, stopped early = 0.07466548
    Emax, Efron's baseline, stopped early = 0.07543556
    Harrell's C, with PGR = 0.675 0.643 0.706
    Uno's C, with PGR = 0.657
    AUC at 5 years, with PGR = 0.701
    slope, with PGR = 1.14 0.92 1.37
    Brier score, with PGR = 0.217
    scaled Brier score, with PGR = 0.130
    net benefit at 23%, with PGR = 0.359
    observed / expected, with PGR = 0.994
    ICI, with PGR = 0.02
    E50, with PGR = 0.02
    E90, with PGR = 0.05
""")


def calibrated(breast, model, names) -> dict[str, float]:
    """Observed / expected, and the distances of the smooth curve from the predictions."""
    years, event, columns = (part[..., : MODELS[model]] if part.ndim == 2 else part for part in breast["rotterdam"])
    coefficients = cox_fit(years, event, columns).coefficients
    outcome, risk = breast["gbsg"][:2], breast["gbsg"][2][:, : MODELS[model]] @ coefficients
    predicted = 1 - evaluation.predicted_survival((years, event), columns @ coefficients, risk, [YEARS])[:, 0]
    gap = np.abs(evaluation.smooth_curve(*outcome, predicted, YEARS)(predicted) - predicted)
    ratio = (1 - evaluation.survived(*outcome, YEARS)) / predicted.mean()
    assert gap.mean() == pytest.approx(evaluation.calibration_summary(*outcome, predicted, YEARS)["ici"], abs=1e-12)
    return dict(zip(names, [ratio, gap.mean(), *np.quantile(gap, [0.5, 0.9]), gap.max()], strict=True))


def test_validation(breast, evidence, monkeypatch):
    years, event, columns = breast["gbsg"]
    curve = survival.survival_at(survival.kaplan_meier(years, event, 0.95), [YEARS]).iloc[0]
    ours = dict(zip(list(VALIDATION)[:3], curve[["survival", "low", "high"]], strict=True))
    measures = ("observed / expected", "ICI", "E50", "E90", "Emax")
    for model, k in MODELS.items():
        ours |= judged(breast, "gbsg", model) | calibrated(breast, model, [name + model for name in measures])
        risk = columns[:, :k] @ cox_fit(*breast["rotterdam"][:2], breast["rotterdam"][2][:, :k]).coefficients
        fit = cox_fit(years, event, risk)
        ends = fit.coefficients[0] + norm.ppf(0.975) * np.sqrt(fit.covariance[0, 0]) * np.array([0, -1, 1])
        ours |= {f"slope{model}{end}": value for end, value in zip(("", ", low", ", high"), ends, strict=True)}
    # riskRegression weighs a death by the censoring just before it, see docs/statistics.md
    monkeypatch.setattr(evaluation, "breslow_hazard", efron_hazard)
    names = [f"{name}, Efron's baseline" + (", stopped early" if k else "") for k, name in enumerate(measures)]
    # all but the fit of the smooth curve is done to the end
    whole = evaluation.smooth_curve

    def stopped(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "cox_fit", stopped_fit)
            return whole(*arguments)

    monkeypatch.setattr(evaluation, "smooth_curve", stopped)
    ours |= calibrated(breast, "", names)
    theirs = {name: float(number) for name, number in VALIDATION.items()}
    baseline = "Breslow's baseline hazard; with Efron's, as theirs, the next lines"
    early = f"{baseline}; and rms::cph stops its fit of the smooth curve at a relative gain of 1e-4"
    evidence(
        "stratos-validation",
        "survival",
        "STRATOS example, that model judged in the 686 patients of the GBSG; to the printed digit",
        "R's survival, riskRegression, timeROC and rms in McLernon 2023, [doi](https://doi.org/10.7326/M22-0844)",
        theirs=theirs,
        ours={name: ours[name] for name in theirs},
        atol=halves(VALIDATION),
        explained={
            "observed / expected": baseline,
            **dict.fromkeys(("ICI", "E50", "E90", "Emax"), early),
        },
    )


COMPETING = printed("""
    rdata, 1 years = 0.03 0.02 0.04
    rdata, 2 years = 0.07 0.05 0.08
    rdata, 3 years = 0.10 0.08 0.12
    rdata, 4 years = 0.13 0.10 0.15
    rdata, 5 years = 0.14 0.11 0.16
    vdata, 1 years = 0.02 0.01 0.03
    vdata, 2 years = 0.05 0.03 0.06
    vdata, 3 years = 0.07 0.05 0.09
    vdata, 4 years = 0.09 0.08 0.11
    vdata, 5 years = 0.10 0.08 0.12
    recurrence: age = 0.0153
    recurrence: size = 0.2510
    recurrence: nodes = 0.5090
    recurrence: receptor = 0.6433
    recurrence: likelihood ratio = 46.33
    recurrence: AIC = 1779.375
    death: age = 0.1118
    death: size = 0.2361
    death: nodes = 0.1860
    death: receptor = 0.2396
    death: likelihood ratio = 170.94
    death: AIC = 2572.079
""")


def test_competing_risks(evidence):
    ours = {}
    tables = dict(list(pd.read_csv(REFERENCE / "stratos_competing.csv").groupby("cohort")))
    for cohort, table in tables.items():
        curve = competing.cumulative_incidence(table["years"], table["cause"], 0.95)
        for year in range(1, 6):
            row = competing.incidence_at(curve, year).iloc[0]
            alive = 1 - row["incidence"]
            # our standard error on the scale of their interval, log(1 - F)
            ends = 1 - alive * np.exp(norm.ppf(0.975) * row["se"] / alive * np.array([0, 1, -1]))
            ours |= {f"{cohort}, {year} years{end}": v for end, v in zip(("", ", low", ", high"), ends, strict=True)}
    table, names = tables["rdata"], ["age", "size", "nodes", "receptor"]
    for number, cause in ((1, "recurrence"), (2, "death")):
        outcome = table["years"], table["cause"] == number, table[names]
        fit = cox_fit(*outcome)
        # rms::cph stops early, see above
        own = stopped_fit(*outcome).coefficients
        ours |= {f"{cause}: {name}": value for name, value in zip(names, own, strict=True)}
        ours[f"{cause}: likelihood ratio"] = fit.likelihood_ratio[0]
        ours[f"{cause}: AIC"] = 2 * len(names) - 2 * fit.loglik
        np.testing.assert_allclose(own, fit.coefficients, atol=2e-4)
    evidence(
        "stratos-competing-risks",
        "survival",
        "STRATOS example of competing risks: cumulative incidence of recurrence, cause-specific Cox models",
        "R's survival, mstate and rms in van Geloven 2022, [doi](https://doi.org/10.1136/bmj-2021-069249)",
        theirs={name: float(number) for name, number in COMPETING.items()},
        ours={name: ours[name] for name in COMPETING},
        atol=halves(COMPETING),
    )
