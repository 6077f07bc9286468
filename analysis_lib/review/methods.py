"""The methods section of a report, written from the parameters that the run used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis_lib.cohort.columns import BY_NAME
from analysis_lib.cohort.index_columns import taken_from_table
from analysis_lib.core.parameters import Params
from analysis_lib.core.question_params import HAZARDS, cox_text, cuts_text, subset_text
from analysis_lib.coxnet.cutoff import GRAIN
from analysis_lib.results.published import NAMES


def methods(
    params: Params, patients: pd.DataFrame | None, n_features: int, saved: dict[str, Any] | None = None
) -> list[tuple[str, str]]:
    """Pairs of heading and paragraph; ``n_features`` is how many features there are, 0 where it is not known.

    ``patients``: None before there are any (``make protocol``), when nothing is counted.
    ``saved`` : of the saved model (``Study.validation``), in a study that was only validated.
    """
    c, s, a, n = params.cohort, params.statistics, params.autoencoder, params.network
    if saved:
        c = c.judged(list(c.sets))
    population = ""
    for name in c.trained:
        size, train, internal = _counts(patients, name)
        if name in c.split_sets:
            population += (
                f"{c.label(name)} patients{size} were split at random, with seed {params.seed}, into training"
                f"{train} and internal test ({internal}{c.internal_fraction:.0%})"
                f"{', dead and censored patients apart' if c.stratify_by_event else ''}. "
            )
        else:
            population += f"{c.label(name)} patients{size} were all trained on. "
    if c.external_sets:
        population += f"Never trained on: {', '.join(c.label(name) for name in c.external_sets)}. "
    population += _question(params) + (
        f"Follow-up is in months (of 30.4375 days) after {s.origin}. "
        "A patient whose clinical row, CT or mask could not be used was excluded with the reason. Nothing was imputed but the "
        "covariates of the adjusted hazard ratios, where the table says so."
    )
    images = f"{_given(params, patients)}SMI and PMI are area over height squared."
    definitions = "; ".join(
        f"{key}, {d.label.lower()} below {d.men:g} (men) or {d.women:g} (women) {d.unit}, {d.source}, doi {d.doi}"
        for key, d in params.definitions.items()
    )
    regions = ", ".join(f"{roi.upper()}: {entry.parameter_file}" for roi, entry in params.features.rois.items())
    extracted = (
        f"{n_features} PyRadiomics features were extracted ({regions}). Which "
        "features the letter used is not printed; this choice is an inference. "
    )
    if params.features.table:
        extracted = f"{n_features or 'Its'} features were taken from a table; how they were extracted is not known to the study. "
    radiomics = (
        f"{extracted}For Fig. 3, features were scaled and "
        f"{params.pca.components} principal components fitted on the training patients; separation is the AUC of a linear rule "
        f"with {params.pca.folds}-fold cross-validation."
    )
    if params.features.min_icc > 0:
        radiomics += (
            f" Features were kept whose intraclass correlation under disturbance of mask, bins and noise was at least "
            f"{params.features.min_icc:g} in {params.stability.patients} training patients."
        )
    radiomics += _harmonised(params, patients)
    layers = f"hidden layers of {_list(a.hidden)}, " if a.hidden else ""
    together = (
        "AutoEncoder and network were trained together, on reconstruction and survival at once. " if a.joint else ""
    )
    strata = "" if n.strata == "none" else f"The partial likelihood was stratified by {n.strata}. "
    linear = ", combined with ridge and elastic-net Cox regression on the scaled features" if n.linear_partner else ""
    model = (
        f"An AutoEncoder ({layers}{a.code_size} variables, {a.code_activation} code, Gaussian noise of SD {a.noise:g}, L2 "
        f"{a.l2:g}, Adam at {a.learning_rate:g}, at most {a.max_epochs} epochs, patience {a.patience}) reduced the scaled "
        f"features, clipped at {a.clip:g} SD. TFDeepSurv, a Cox proportional hazards network (hidden layers of "
        f"{_list(n.hidden)}, {n.activation}, dropout {n.dropout:g}, L1 {n.l1:g}, L2 {n.l2:g}, {n.ties.capitalize()}'s ties, "
        f"{n.optimizer.capitalize()} at {n.learning_rate:g}, at most {n.max_epochs} epochs, early stopping on "
        f"{n.validation_fraction:.0%} of the training patients with patience {n.patience}), predicted {params.endpoint.name}; "
        f"the risk score is the mean of {n.ensemble} networks{linear}. {together}{strata}Scaling, AutoEncoder, network and cut-off were fitted on "
        f"training patients only. Risk groups are cut at {cuts_text(params.risk_groups)} in every set; a risk within {GRAIN / 2:.5f} of it "
        "counts as on it, and as low."
    )
    horizons = ", ".join(f"{m:g}" for m in s.horizons_months)
    o = params.optimism
    again = ""
    if o.repeats or o.permutations:
        kinds = [f"{o.repeats} random splits and {o.repeats} bootstrap samples"] if o.repeats else []
        kinds += [f"{o.permutations} splits with permuted outcomes"] if o.permutations else []
        again = f"The whole pipeline was fitted again to {' and to '.join(kinds)}. "
    discrimination = (
        "Discrimination is Harrell's C-index "
        f"and the cumulative/dynamic AUC with inverse probability of censoring weights from {s.auc_first_month:g} to "
        f"{s.auc_last_month:g} months and at {horizons} months (of 30.4375 days), from the month by which "
        f"{s.auc_min_deaths} of a set have {params.endpoint.had}. Intervals are {s.confidence:.0%}; those of "
        f"C-index and AUC are percentile intervals of {s.bootstrap_replicates:,} bootstrap samples of patients, those "
        f"of Brier score, net benefit, calibration and reclassification of {s.curve_replicates:,}. "
    )
    judged = (
        "Predicted risks are judged by calibration (slope, "
        "integrated calibration index) and by the Brier score. Decision curves, net reclassification and likelihood-ratio "
        "tests say what the model adds to clinical variables and to the best definition. Recurrence is estimated with death "
        "as a competing risk (Aalen-Johansen). "
    )
    others = (
        "Predicted risks are judged by calibration (observed over predicted, slope, integrated calibration index), Brier score "
        "and decision curves; hazard ratios of the risk groups have Wald intervals (Cox, Efron's ties), and likelihood-ratio "
        "tests, fitted to these patients, say what the risk adds to clinical variables and to each definition."
    )
    statistics = (
        f"Hazard ratios are from Cox regression with Efron's ties, Wald intervals and P values; {_hazards(params)}survival curves are "
        "Kaplan-Meier with log-log intervals; groups are compared by the log-rank test. "
        f"{discrimination if params.radiomics else f'Intervals are {s.confidence:.0%}. '}A test is two-sided. "
        f"Beyond the letter: hazard ratios adjusted for {_covariates(s.adjust_for, params.clinical.tumour_threshold_cm)} in complete cases and in "
        f"{s.imputations} imputed data sets, test of proportional hazards by Schoenfeld residuals, restricted cubic splines, "
        f"Firth's penalty in groups with fewer than {s.firth_below_events} events, Benjamini-Hochberg's false discovery "
        f"rate, restricted mean survival to {s.rmst_months:g} months. "
        f"{judged + again if params.radiomics else ''}Each estimator, its source and the test that checks it: docs/statistics.md."
    )
    sections = [("Patients", population), ("Images", images), ("Definitions of sarcopenia", f"{definitions}.")]
    if saved:
        sections += [
            ("Radiomics", extracted),
            ("Model", _saved_model(saved)),
            ("Statistics", f"{discrimination}{others}"),
        ]
    elif params.radiomics:
        sections += [("Radiomics", radiomics), ("Model", model), ("Statistics", statistics)]
    else:
        sections += [("Statistics", statistics)]
    if params.synthetic:
        text = (
            "CT images, masks, clinical values and outcomes were drawn by the study itself, to the letter's published "
            "counts and hazard ratios. Agreement with the letter is put in and is no evidence for it."
        )
        sections.insert(0, ("Synthetic data", text))
    return sections


def _harmonised(params: Params, patients: pd.DataFrame | None) -> str:
    """What ComBat did, and how many patients it left as they were."""
    if not (batch := params.features.harmonise.batch):
        return ""
    text = (
        f" ComBat (parametric empirical Bayes, no covariates; doi 10.1093/biostatistics/kxj037), fitted on the training "
        f"patients, made the features alike over '{batch}'"
    )
    if patients is None:
        return f"{text}; patients of a batch without training patients keep theirs."
    learnt = patients.loc[patients["split"] == "train", batch].dropna().unique()
    left = len(patients) - patients[batch].isin(learnt).sum()
    return f"{text}, of {len(learnt)} batches; {left} patients of another or of no known batch keep theirs."


def _counts(patients: pd.DataFrame | None, name: str) -> tuple[str, str, str]:
    """How many of a set there are, were trained on and were kept to test, as parts of a sentence."""
    if patients is None:
        return "", "", ""
    part = patients[patients["set"] == name]
    split = part["split"].value_counts()
    return f" ({len(part)})", f" ({split.get('train', 0)})", f"{split.get('internal', 0)}; "


def _hazards(params: Params) -> str:
    """What ``cox`` and ``risk_groups`` change, as parts of a sentence."""
    text = cox_text(params.cox).removesuffix(". ").replace(HAZARDS, "they and the log-rank tests are", 1)
    text += "; " if text else ""
    if params.cox.competing:
        text += "competing events have cause-specific and Fine-Gray hazard ratios and Gray's test; "
    return text


def _question(params: Params) -> str:
    """Of whom the study asks, where it is not everybody from the start."""
    text = f"Only patients of a subset were analysed ({subset_text(params.subset)}). " if params.subset else ""
    if params.landmark_months:
        text += (
            f"The landmark is month {params.landmark_months:g} after {params.statistics.time_origin}: patients whose "
            "follow-up ended by then were not analysed, and times count from there. "
        )
    return text + ("The training and test sets were divided after that. " if text and params.cohort.split_sets else "")


def _saved_model(saved: dict[str, Any]) -> str:
    return (
        f"Nothing was trained. A saved model of study {saved['study']} (folder {saved['folder']}, SHA256SUMS "
        f"{saved['sums_sha256'][:12]}), of {saved['n_patients']} training patients, {saved['n_features']} features and "
        f"{saved['networks']} networks, gave each patient a risk and probabilities of survival; its cut-off makes the risk "
        f"groups. {' '.join(saved['notes'])}".strip()
    )


def _given(params: Params, patients: pd.DataFrame | None) -> str:
    """Where the indices come from: images, the clinical table, or both."""
    taken, i, text = [] if patients is None else taken_from_table(patients), params.images, ""
    if patients is None:
        text = "What the clinical table has of areas, densities and indices was taken from there. "
    out = [name for name, rule in i.flags.items() if rule.exclude]
    if taken:
        names = ", ".join(BY_NAME[name].meaning.split(",")[0] for name in taken)
        text = f"Taken from the clinical table, where they had been measured already: {names}. "
        if params.clinical.shifted:
            text += "These columns were put back in the rows of their patients as stated in clinical.shifted. "
        if patients is not None and not (patients["ct_series"] != "").any():
            return f"{text}No image was read for them. "
    return text + (
        f"{'The other indices of skeletal' if text else 'Skeletal'} muscle (SM) and psoas muscle (PM) were measured on the "
        f"slices of their masks at the third lumbar vertebra: area and mean attenuation of SM pixels "
        f"{_window(i.sm.hu_window)}, and of PM pixels {_window(i.pm.hu_window)}. "
        + (f"Patients whose measurement was flagged ({', '.join(out)}) were excluded. " if out else "")
    )


def _covariates(names: Sequence[str], tumour_threshold_cm: float) -> str:
    text = ", ".join(NAMES.get(name, name.replace("_", " ")) for name in names)
    return text.replace("> 5 cm", f"> {tumour_threshold_cm:g} cm")


def _window(window) -> str:
    return "(all inside the mask)" if window is None else f"from {window.low:g} to {window.high:g} HU"


def _list(widths: list[int]) -> str:
    return " and ".join(map(str, widths)) or "none"
