"""A fitted model to give away: what prediction and validation need, and no number of a single patient.

The folder of a fit holds the risk of each training patient, the exact months of their deaths, and for each feature the
smallest, middle and largest value, which are each some patient's. Here every such number is the mean of several
patients' (microaggregation; Hundepool A et al. Statistical Disclosure Control, Wiley 2012, doi 10.1002/9781118348239),
and the baseline hazard has steps at whole months between which it was interpolated. What that does to risks is measured
and told in the model card. Weights are a function of all training patients; that nothing of one can be inferred from
them by an attack is not claimed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis_lib.common.files import SUMS
from analysis_lib.core.parameters import SYNTHETIC_NOTE, TUMOUR
from analysis_lib.core.project import Study
from analysis_lib.coxnet.cutoff import high_risk
from analysis_lib.coxnet.model import RadiomicsSurvivalModel, package_versions
from analysis_lib.coxnet.scaling import FeatureScaler
from analysis_lib.coxnet.training_range import QUANTILE, TrainingRange
from analysis_lib.stages import MODEL, StageError
from analysis_lib.stages.clinical_model import FILE, ClinicalModel, covariates
from analysis_lib.stages.predict import load_model
from analysis_lib.survival.cox import NoFiniteEstimate, breslow_hazard, cox_fit

LEAST = 5  # patients, or deaths, behind each number
CASE_MIX = ["characteristic", "n", "value", "low", "high"]
MEASURED = ("age", "bmi", "sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu", "smi", "pmi", "os_months")
NOTE = f"\n**{SYNTHETIC_NOTE}** Its risks say nothing about a patient.\n"


@dataclass(frozen=True)
class Change:
    """What the training patients' predictions lose: largest difference of risk and of survival, changed groups."""

    risk: float
    survival: float
    groups: int


def export_model(study: Study) -> str:
    """Write ``build/<study>/model_to_share``; say what it holds. StageError where there are too few to hide among."""
    if study.params.features.harmonise.batch:
        raise StageError(
            "a model of features that features.harmonise made alike is good for the scanners of its training patients "
            "alone; fit one without it to give away"
        )
    fitted, patients = load_model(study.model), study.patients(with_radiomics=True).set_index("patient_id")
    train = patients[patients["split"] == "train"]
    features = study.features().loc[train.index]
    months, event = train["time_months"].to_numpy(float), train["event"].to_numpy(float) == 1
    shared = shareable(fitted, features, months, event)
    change = compared(fitted, shared, features, study.params.statistics.horizons_months)
    folder = study.build / "model_to_share"
    mix = case_mix(train)
    origin = fitted.description["provenance"] | {"case_mix": plain(mix)}
    clinical = clinical_models(train, study.params.statistics.adjust_for)
    text = json.dumps([model.model_dump() for model in clinical], indent=1) + "\n"
    shared.save(folder, origin, {"MODEL_CARD.md": card(study, shared, train, change, clinical), FILE: text})
    return (
        f"{study.project.name_of(folder)}: for others, with MODEL_CARD.md; risks of the training patients differ "
        f"by at most {change.risk:.2g} from the study's model, {change.groups} of {len(train)} change their group"
    )


def shareable(
    model: RadiomicsSurvivalModel, features: pd.DataFrame, months: np.ndarray, event: np.ndarray
) -> RadiomicsSurvivalModel:
    """The model with each number of a single training patient coarsened or left out.

    features : (n, d) of the training patients; months : (n,) of follow-up; event : (n,) bool.
    """
    if min(int(event.sum()), int((~event).sum()), len(features) // 4) < LEAST:
        raise StageError(
            f"{len(features)} training patients with {int(event.sum())} events are too few for a model that gives none "
            f"of them away; it needs {4 * LEAST} patients, {LEAST} with the event and {LEAST} without"
        )
    x = features[model.scaler.names].to_numpy(np.float64, na_value=np.nan, copy=True)
    x[~np.isfinite(x)] = np.nan
    ordered = np.sort(x, axis=0)  # missing values last
    known = (~np.isnan(x)).sum(axis=0)
    few = known < LEAST
    low, high, middle = (_means(ordered, first) for first in (0 * known, known - LEAST, (known - LEAST) // 2))
    table = model.scaler.table
    coarse = table.assign(
        median=middle, low=low, high=high, scale=[float(f"{v:.4g}") for v in table["scale"]], n_missing=0, n_clipped=0
    )
    coarse["constant"] |= few  # what so few patients have tells nothing of others
    trained = model.training
    training = replace(trained, span=pd.DataFrame({"lower": low, "upper": high}, table.index.astype(str)))
    outside = (training.outside(features) > 0).mean(axis=1)
    training = TrainingRange(
        training.span,
        len(features),
        float(np.floor(trained.last_month)),
        round(float(np.quantile(outside, QUANTILE)), 3),
        None if trained.error_limit is None else float(f"{trained.error_limit:.3g}"),
    )
    encoder = model.autoencoder and replace(model.autoencoder, history=model.autoencoder.history.head(0))
    ensemble = replace(
        model.ensemble,
        baseline=coarse_baseline(model.ensemble.baseline, months[event]),
        history=model.ensemble.history.head(0),
        held_out_risk=np.empty(0),
        held_out=np.empty((0, 0), bool),
    )
    scaler = FeatureScaler(coarse, model.scaler.clip)
    shared = replace(
        model, scaler=scaler, autoencoder=encoder, ensemble=ensemble, cutoff=0.0, training=training, description={}
    )
    risk = np.sort(shared.risk(features).to_numpy())
    first = (len(risk) - LEAST) // 2
    return replace(shared, cutoff=float(risk[first : first + LEAST].mean()))


def case_mix(patients: pd.DataFrame) -> pd.DataFrame:
    """Who the patients are, none of them to be known by it: CASE_MIX, a row a characteristic.

    ``value`` is the median, ``low`` and ``high`` the quartiles, each the mean of the LEAST values nearest to it; or, of
    what a patient has or has not, the share to two digits alone. ``n`` is of how many it is known.
    """
    yes_or_no = {"men": patients["sex"].map({"M": 1.0, "F": 0.0})} | {name: patients.get(name) for name in TUMOUR}
    rows = []
    for name in MEASURED:
        values = patients.get(name, pd.Series(dtype=float)).astype(float).dropna()
        rows.append((name, len(values), *(quantile(values.to_numpy(), q) for q in (0.5, 0.25, 0.75))))
    for name, column in (yes_or_no | {"died": patients["os_event"]}).items():
        known = pd.Series(dtype=float) if column is None else column.astype(float).dropna()
        rows.append((name, len(known), round(known.mean(), 2) if len(known) >= LEAST else np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=CASE_MIX)


def plain(table: pd.DataFrame) -> dict[str, list]:
    """A table by column, as JSON has it: None where there is no number."""
    return table.astype(object).where(table.notna(), None).to_dict("list")


def quantile(values: np.ndarray, q: float) -> float:
    """Mean of the LEAST values (n,) nearest to a quantile by rank; NaN of fewer values."""
    if len(values) < LEAST:
        return np.nan
    first = int(np.clip(round(q * (len(values) - 1)) - LEAST // 2, 0, len(values) - LEAST))
    return float(np.sort(values)[first : first + LEAST].mean())


def _means(ordered: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean (d,) of LEAST values of each sorted column (n, d) from place ``first`` (d,); 0 where so many are not there.

    The mean of equal values is that value to the bit, so that a constant stays one.
    """
    rows = np.clip(first, 0, len(ordered) - LEAST) + np.arange(LEAST)[:, None]
    taken = np.take_along_axis(ordered, rows, axis=0)
    return np.nan_to_num(taken[0] + (taken - taken[0]).mean(axis=0))


def coarse_baseline(baseline: pd.DataFrame, deaths_months: np.ndarray) -> pd.DataFrame:
    """Baseline hazard (months, cumulative_hazard) with steps at whole months.

    It is exact at months with at least LEAST deaths since the one before, and interpolated between them.
    """
    last = int(np.ceil(baseline["months"].iloc[-1]))
    whole = np.arange(last + 1)
    deaths = np.searchsorted(np.sort(deaths_months), whole, side="right")
    hazard = np.concatenate([[0.0], baseline["cumulative_hazard"]])
    hazard = hazard[np.searchsorted(baseline["months"], whole, side="right")]
    exact = [0]
    for month in whole:
        if deaths[month] - deaths[exact[-1]] >= LEAST:
            exact.append(int(month))
    if exact[-1] != last:
        exact[max(len(exact) - 1, 1) :] = [last]  # the few deaths at the end belong to the group before
    steps = np.interp(whole[1:], exact, hazard[exact])
    return pd.DataFrame({"months": whole[1:].astype(float), "cumulative_hazard": steps})


def clinical_models(train: pd.DataFrame, names: Sequence[str]) -> list[ClinicalModel]:
    """Cox models of the first, the first two and so on of the covariates ``names``, each in its complete cases.

    Left out is a covariate with which there are fewer than LEAST deaths, survivors or patients of either kind, or no
    maximum of the likelihood. Means have three digits: nobody follows from two models that differ by one.
    """
    used: list[str] = []
    models: list[ClinicalModel] = []
    for name in names:
        x = covariates(train, [*used, name]).dropna()
        kinds = [x[column].value_counts() for column in x]
        months, died = train.loc[x.index, "time_months"].to_numpy(float), train.loc[x.index, "event"].to_numpy() == 1
        few = min(int(died.sum()), int((~died).sum()), len(x) // 4) < LEAST
        if few or any(len(counts) < 2 or (len(counts) == 2 and counts.min() < LEAST) for counts in kinds):
            continue
        try:
            fit = cox_fit(months, died, x.to_numpy())
        except NoFiniteEstimate:
            continue
        used.append(name)
        coefficients, means = (
            _digits(dict(zip(used, v, strict=True)), k) for v, k in ((fit.coefficients, 4), (x.mean(), 3))
        )
        log_risk = (x - pd.Series(means)).mul(pd.Series(coefficients)).sum(axis=1)
        deaths, hazard = breslow_hazard(months, died, log_risk, 0.0)
        steps = coarse_baseline(pd.DataFrame({"months": deaths, "cumulative_hazard": hazard}), deaths)
        models.append(
            ClinicalModel(
                coefficients=coefficients,
                means=means,
                months=steps["months"].tolist(),
                cumulative_hazard=steps["cumulative_hazard"].tolist(),
                last_month=float(np.floor(months.max())),
                n=len(x),
                events=int(died.sum()),
            )
        )
    return models


def _digits(values: dict[str, float], digits: int) -> dict[str, float]:
    return {name: float(f"{value:.{digits}g}") for name, value in values.items()}


def compared(
    fitted: RadiomicsSurvivalModel, shared: RadiomicsSurvivalModel, features: pd.DataFrame, months: list[float]
) -> Change:
    """How far the shared model's predictions for the training patients (n, d) lie from the fitted one's."""
    risks = [model.risk(features).to_numpy() for model in (fitted, shared)]
    groups = [high_risk(risk, model.cutoff) for risk, model in zip(risks, (fitted, shared), strict=True)]
    within = [month for month in months if month <= shared.training.last_month]
    curves = [model.survival(features, within).to_numpy() for model in (fitted, shared)]
    return Change(
        float(np.abs(risks[0] - risks[1]).max()),
        float(np.abs(curves[0] - curves[1]).max(initial=0.0)),
        int((groups[0] != groups[1]).sum()),
    )


def card(
    study: Study, model: RadiomicsSurvivalModel, train: pd.DataFrame, change: Change, clinical: Sequence[ClinicalModel]
) -> str:
    """The model card, Markdown (after Mitchell M et al. FAT* 2019, doi 10.1145/3287560.3287596)."""
    params, scores, events = study.params, study.result("c_index"), int((train["event"] == 1).sum())
    scores = scores[scores["model"] == MODEL]
    made = f"extracted with the settings and versions in `model.json` (HU: {_windows(study)}); other ones are refused"
    if params.features.table:
        made = "extracted as those of the table that it learnt from, of which this file knows the names alone"
    partner = " combined with ridge and elastic-net Cox" if model.partner else ""
    scale = "" if model.partner else " (whose SD over patients is near 1)"
    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    return f"""# {params.heading}: survival model
{NOTE if params.synthetic else ""}
{params.endpoint.title} after {params.statistics.origin} from radiomics features of skeletal muscle and psoas on CT at
L3: scaling, AutoEncoder, {len(model.ensemble.networks)} Cox networks{partner}, baseline hazard, cut-off
of the risk groups. Not a medical device; not for decisions on a patient.

- Trained on {len(train)} patients ({events} {params.endpoint.plural}) of study `{params.study}`, seed
  {params.seed}, observed for up to {model.training.last_month:.0f} months; {len(model.scaler.names)} features.
- It holds for features that are {made}. It computes with {versions}.
- Use: `make predict STUDY=<yours> MODEL=<this folder>`, or `make validate` where outcomes are known. Each file is
  checked against `{SUMS}` first.

## Training patients
Medians and quartiles, each the mean of {LEAST} patients' values, or a share; also in `model.json`, for `make validate`.

| | known of | median or share | quartiles |
|---|---|---|---|
{_mix_rows(case_mix(train))}

## How well it ranks {params.endpoint.name}
| set | C-index (95% interval as in `c_index.csv`) | patients | {params.endpoint.plural} |
|---|---|---|---|
{_rows(scores)}

The training set's own is flattered by the fit. Calibration and intervals: the study's report.

## Clinical models
For comparison, `{FILE}` has Cox models of clinical covariates alone, fitted to the training patients of whom they are
known: coefficients (four digits), means (three) and baseline hazard. Beside the model `make validate` judges the one of
most covariates that a set has.

| covariates (log hazard ratio per unit; sex: 1 is male) | patients | {params.endpoint.plural} |
|---|---|---|
{_clinical_rows(clinical)}

## What was made coarser, so that no patient is given away
Left out: risks of the training patients, training histories. Medians and extremes of features and the cut-off are
means of {LEAST} patients' values each; a baseline hazard has steps at whole months, exact only at months with
{LEAST} deaths or more since the one before. For the training patients, the largest difference from the study's own
model is {change.risk:.2g} in risk{scale} and {change.survival:.2g} in the probability of
survival; {change.groups} of {len(train)} are in the other risk group. The weights of the model are functions of all
training patients; that nothing about one could be inferred from them is not proven.
"""


def _windows(study: Study) -> str:
    images = study.params.images
    windows = {muscle.upper(): getattr(images, muscle).hu_window for muscle in ("sm", "pm")}
    return ", ".join(f"{name} {f'{w.low:g} to {w.high:g}' if w else 'all'}" for name, w in windows.items())


def _clinical_rows(clinical: Sequence[ClinicalModel]) -> str:
    rows = []
    for model in clinical:
        terms = ", ".join(f"{name} {value:g}" for name, value in model.coefficients.items())
        rows.append(f"| {terms} | {model.n} | {model.events} |")
    return "\n".join(rows) or "| none could be fitted | | |"


def _mix_rows(mix: pd.DataFrame) -> str:
    return "\n".join(
        f"| {row.characteristic} | {row.n} | {row.value:.4g} | "
        f"{'' if np.isnan(row.low) else f'{row.low:.4g} to {row.high:.4g}'} |"
        for row in mix[mix["value"].notna()].itertuples()
    )


def _rows(scores: pd.DataFrame) -> str:
    return "\n".join(
        f"| {row.set} | {row.c_index:.3f} ({row.low:.3f} to {row.high:.3f}) | {row.n:.0f} | {row.events:.0f} |"
        for row in scores.itertuples()
    )
