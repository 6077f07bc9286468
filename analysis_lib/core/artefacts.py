"""Which notebook makes which table and figure, and what each one is: one artefact, one place.

``NOTEBOOKS`` lists the files; ``ARTEFACTS`` says of each table and figure what it shows, for the report, the
comparison, ``codecheck.yml`` and the expectation. An artefact without an entry there still appears, under its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Study


def _made(figures: str = "", tables: str = "") -> list[str]:
    """Files of the figures and tables named."""
    drawn = [f"{name}.{kind}" for name in figures.split() for kind in ("png", "pdf", "csv")]
    return drawn + [f"{name}.{kind}" for name in tables.split() for kind in ("csv", "html")]


NOTEBOOKS: dict[str, list[str]] = {
    "01_cohort": _made("fig1", "table1 exclusions"),
    "02_sarcopenia": _made("fig2 figS1 figS2 figS3", "table2"),
    "03_radiomics_pca": _made("fig3", "separation"),
    "04_autoencoder_deepsurv": _made(
        "fig4ab importance_plot", "reconstruction explained_variance joint_comparison importance"
    ),
    "05_risk_groups": _made("fig4cf", "risk_groups risk_group_models"),
    "06_discrimination": _made("fig5 fig5_models", "c_index auc c_index_difference auc_horizons c_index_intervals"),
    "07_paper_comparison": _made("comparison", "paper_comparison c_index_published"),
    "09_beyond_the_letter": _made(
        "calibration subgroup_forest cumulative_incidence", "calibration_summary subgroups incidence competing_risks"
    ),
    "11_small_data": _made("optimism", "optimism_summary"),
    "12_added_value": _made("decision_curves", "brier nri added_value"),
    "13_extended_table2": _made(tables="table2_extended"),
    "14_index_splines": _made("spline"),
}
# What a study without radiomics, and so without a model, can have.
INDICES_ALONE = ("01_cohort", "02_sarcopenia", "13_extended_table2", "14_index_splines")
STABILITY: dict[str, list[str]] = {"10_stability": _made("stability")}  # off unless stability.patients is set
# Off unless asked for: make multiverse, make search.
ASKED_FOR: dict[str, list[str]] = {
    "15_multiverse": _made("multiverse_hr multiverse_gain power"),
    "16_search": _made("search"),
}
VALIDATION: dict[str, list[str]] = {  # make validate: another's model judged on the study's patients
    "17_validation": _made(
        "validation_discrimination validation_calibration validation_decision_curves validation_risk_curves",
        "validation_case_mix validation_c_index validation_c_index_intervals validation_c_index_difference "
        "validation_auc_horizons validation_calibration_summary validation_brier validation_risk_groups "
        "validation_added_value validation_recalibration validation_tripod",
    )
}
ALL_NOTEBOOKS = NOTEBOOKS | STABILITY | ASKED_FOR | VALIDATION
FURTHER = re.compile(r"figS([4-9]|[1-9]\d+)")  # curves of an external set beyond the letter's two


def wanted_notebooks(params: Params) -> dict[str, list[str]]:
    """The notebooks that ``make study`` runs for this study, and what each makes."""
    wanted = NOTEBOOKS | STABILITY if params.stability.patients > 0 else NOTEBOOKS
    asked = {"risk_group_models": params.risk_groups, "competing_risks": params.cox.competing}
    unasked = [name for name, wish in asked.items() if not wish]
    wanted = {name: [file for file in files if Path(file).stem not in unasked] for name, files in wanted.items()}
    if not params.radiomics:
        wanted = {name: wanted[name] for name in INDICES_ALONE}
    # The letter has two external sets. Any further one has its curves too, as Fig. S4 and so on.
    further = [file for k in range(2, len(params.cohort.external_sets)) for file in _made(f"figS{k + 2}")]
    return wanted | {"02_sarcopenia": [*wanted["02_sarcopenia"], *further]}


def possible_notebooks(params: Params) -> dict[str, list[str]]:
    """Those and the ones that run when asked for; power is calculated by the generator of a synthetic cohort."""
    if not params.radiomics:
        return wanted_notebooks(params)
    asked = ASKED_FOR | _validation(params)
    if not params.synthetic:
        asked["15_multiverse"] = [file for file in asked["15_multiverse"] if Path(file).stem != "power"]
    return wanted_notebooks(params) | asked


def reported_notebooks(params: Params) -> dict[str, list[str]]:
    """The notebooks whose tables and figures a record, report or package holds, where they are there."""
    return wanted_notebooks(params) | _validation(params)


def _validation(params: Params) -> dict[str, list[str]]:
    if not params.radiomics:
        return {}
    left_out = "" if params.validation.recalibrate else "validation_recalibration"
    return {name: [file for file in files if Path(file).stem != left_out] for name, files in VALIDATION.items()}


def is_declared(stem: str, params: Params) -> bool:
    """Whether a notebook of the study is declared to make a table or figure of this name."""
    return any(Path(file).stem == stem for files in possible_notebooks(params).values() for file in files)


@dataclass(frozen=True)
class Published:
    """Which of the letter's numbers: those of a table and, where given, of one set, outcome and quantity."""

    table: str
    set: str | None = None
    outcome: str | None = None
    quantity: str | None = None

    def of(self, comparison: pd.DataFrame) -> pd.DataFrame:
        """The rows of ``published.compare`` that are meant."""
        for column, wanted in vars(self).items():
            if wanted is not None:
                comparison = comparison[comparison[column] == wanted]
        return comparison


@dataclass(frozen=True)
class Artefact:
    """One table or figure: how it is named, described and checked.

    ``caption`` (in the report), ``page`` (on a table's own page, where that is another) and ``alt`` (what a reader who
    cannot see it needs) may hold the names of ``review.facts``, as ``{discovery}`` for 'Discovery (492 patients, 100
    deaths, 228 recurrences)'. ``published`` are the letter's numbers that belong beside it. ``model`` tells that the
    numbers descend from training, which another processor repeats less closely.
    """

    title: str
    caption: str
    alt: str = ""
    part: Literal["paper", "extended"] = "extended"
    published: Published | None = None
    model: bool = False
    page: str = ""


# In the order of the letter, then the extended results.
ARTEFACTS: dict[str, Artefact] = {
    "fig1": Artefact(
        "Fig. 1",
        "Flowchart of the study. {all}. {excluded}.",
        "Flowchart. For each set the patients in the clinical table, those excluded by stage, and those analysed; the "
        "discovery set splits into training and internal test. Below, the chain of the analysis: {process}. {all}.",
        part="paper",
        published=Published("Table 1", quantity="patients"),
    ),
    "table1": Artefact(
        "Table 1",
        "Characteristics of the patients by set. {all}. Percentages are of the patients whose value is known; the "
        "columns 'missing' count the others. {uncounted}",
        part="paper",
        published=Published("Table 1"),
        page="Characteristics of the patients by set. {uncounted}",
    ),
    "table2": Artefact(
        "Table 2",
        "Prevalence of sarcopenia by {definitions} definitions and univariable Cox hazard ratio ({level} interval, Wald "
        "P), with log-rank P and events of the sarcopenic / of all. {cox}{all}. NA: no patient, or no event, in one of the groups.",
        part="paper",
        published=Published("Table 2"),
        page="Prevalence of sarcopenia and univariable Cox hazard ratio ({level} Wald interval, P), by set and outcome, with "
        "log-rank P and events of the sarcopenic / of all. {cox}",
    ),
    "fig2": Artefact(
        "Fig. 2",
        "Kaplan-Meier curves of {endpoint} with and without sarcopenia, one panel a definition. {cox}{discovery}. "
        "Bands: pointwise {level} intervals. Under each panel, by the month above, those still at risk and those censored or "
        "with an event before (KMunicate, 10.1136/bmjopen-2019-030215); the axis of survival is broken where it does not "
        "begin at 0.",
        "{definitions} panels, one a definition of sarcopenia, each with two Kaplan-Meier curves of {endpoint} over "
        "months after {time_origin}, with sarcopenia (in the definition's colour) and without (grey), interval bands, hazard "
        "ratio, log-rank P, and numbers at risk, censored and of events. {hazard_discovery}.",
        part="paper",
        published=Published("Table 2", "discovery", "OS", "HR"),
    ),
    "fig3": Artefact(
        "Fig. 3",
        "The first {components} principal components of the {features} radiomics features, coloured by each definition. "
        "{all}. Fitted on the training patients. Points in random order; ellipses hold half of a normal distribution with "
        "the mean and covariance of a group; the AUC in words after Hosmer and Lemeshow.",
        "{definitions} columns of scatter plots of the leading principal components, one a definition, each dot a patient, "
        "coloured by sarcopenia, an ellipse for each group, with the cross-validated AUC of telling the two groups apart, "
        "its permutation P, and what it is worth in words.",
        part="paper",
    ),
    "fig4ab": Artefact(
        "Fig. 4a, b",
        "Training of the AutoEncoder (loss) and of TFDeepSurv (loss and C-index) against steps; {ensemble} networks, and their "
        "mean (thick) while all of them run. Dots: where training stopped; rings: the least validation loss, whose weights are "
        "kept. {train}.",
        "Learning curves: training and validation loss of the AutoEncoder, then loss and C-index of the {ensemble} networks, "
        "each against training steps, with dots where they stopped and rings at the least validation loss.",
        part="paper",
        model=True,
    ),
    "fig4cf": Artefact(
        "Fig. 4c-f",
        "Kaplan-Meier curves of {endpoint} in the risk groups, cut at {cuts} in every set. {cox}"
        "{train}; {tests}. The training panel is optimistic. Under each panel the patients whose risk lies no further from the "
        "cut-off than its own SD over the {ensemble} networks of the ensemble: their group is uncertain.",
        "Panels for training, internal test and each external set, each with two Kaplan-Meier curves, high and low risk, "
        "interval bands, hazard ratio, log-rank P, numbers at risk, censored and of events, and how many are near the cut-off. "
        "{hazard_risk_groups}.",
        part="paper",
        model=True,
    ),
    "fig5": Artefact(
        "Fig. 5",
        "Time-dependent AUC and C-index of TFDeepSurv and of every definition. {tests}. {level} bootstrap intervals over "
        "patients, {replicates} replicates. A continuous score has an advantage over a yes/no definition; the continuous "
        "indices stand in the extended results.",
        "For each test set the cumulative/dynamic AUC over months after {time_origin}, a line a marker named at its end, and "
        "beside it the C-index of each marker with its interval. {c_index_model}.",
        part="paper",
        published=Published("Fig. 5"),
        model=True,
    ),
    "figS1": Artefact(
        "Fig. S1",
        "Kaplan-Meier curves of {second_endpoint} with and without sarcopenia. {cox}{discovery}.",
        "{definitions} panels, one a definition of sarcopenia, each with two Kaplan-Meier curves of {second_endpoint} "
        "with interval bands and numbers at risk, censored and of events. {hazard_second_discovery}.",
        part="paper",
        published=Published("Table 2", "discovery", "RFS", "HR"),
    ),
    "figS2": Artefact(
        "Fig. S2",
        "Kaplan-Meier curves of {endpoint} with and without sarcopenia. {cox}{test1}.",
        "{definitions} panels, one a definition of sarcopenia, each with two Kaplan-Meier curves of {endpoint} with "
        "interval bands and numbers at risk, censored and of events. {hazard_test1}.",
        part="paper",
        published=Published("Table 2", "external", "OS", "HR"),
    ),
    "figS3": Artefact(
        "Fig. S3",
        "Kaplan-Meier curves of {endpoint} with and without sarcopenia. {cox}{test2}.",
        "{definitions} panels, one a definition of sarcopenia, each with two Kaplan-Meier curves of {endpoint} with "
        "interval bands and numbers at risk, censored and of events. {hazard_test2}.",
        part="paper",
        published=Published("Table 2", "lt", "OS", "HR"),
    ),
    "table2_extended": Artefact(
        "Table 2, extended",
        "Each definition (* not in the letter) with what a reviewer would ask for: events, log-rank P, Benjamini-Hochberg, "
        "Firth's penalty where a group has few events, test of proportional hazards, hazard ratios adjusted for the clinical "
        "covariates (complete cases and multiple imputation), the continuous index, median and restricted mean survival. {cox}{all}.",
        page="Each definition (* not in the letter) with what a reviewer would ask for. RMST to {rmst_months} months; HR per "
        "SD less: one SD further below the cut-off; Benjamini-Hochberg over the letter's definitions of a set and outcome, "
        "for * over all of them. {cox}",
    ),
    "spline": Artefact(
        "The indices as curves",
        "Hazard of {event} along each continuous index (restricted cubic spline), against a patient exactly at the cut-off. "
        "{uncounted}{discovery}. Bands: pointwise {level} intervals.",
        "{definitions} panels, one an index, each with the hazard ratio on a logarithmic scale over the index, its interval "
        "band, a dashed line at the cut-off, and a histogram of the patients along the bottom.",
    ),
    "separation": Artefact(
        "Separation in Fig. 3",
        "Cross-validated AUC of a linear rule on the principal components for each definition, with bootstrap interval and "
        "P of groups permuted within the sets, not adjusted for its number, and what the AUC is worth in words; of all sets, and of those trained on alone. {all}.",
    ),
    "reconstruction": Artefact(
        "Reconstruction error",
        "Mean squared error of each feature after the AutoEncoder, in SDs of the training patients squared: 1 is no better "
        "than the feature's mean. {train}; {tests}.",
        model=True,
    ),
    "explained_variance": Artefact(
        "Explained variance",
        "Variance of the features that {code_size} variables keep, by the AutoEncoder and by as many principal components of "
        "the same training patients. {train}; {tests}.",
        model=True,
    ),
    "importance_plot": Artefact(
        "Which features carry the risk",
        "Loss of C-index in each test set where the features of a region, an image type or a class are permuted together among "
        "its patients, nothing being fitted again: mean and SD over the permutations, and SD over the {ensemble} networks one "
        "by one. The sampling error of the set comes on top. Groups that say the same stand in for each other. {tests}.",
        "A panel a test set, a row a group of features (all, regions, image types, classes): a dot for the mean loss of C-index with "
        "two bars, its SDs over permutations and over networks, beside a line at no loss.",
        model=True,
    ),
    "importance": Artefact(
        "Which features carry the risk, in numbers",
        "Loss of C-index in each test set where the features of a group are permuted together among its patients, with its SD over "
        "permutations and over the {ensemble} networks one by one, and the share of networks in which no group of the kind "
        "loses more. {tests}.",
        model=True,
    ),
    "joint_comparison": Artefact(
        "Two steps or one joint network",
        "C-index of the letter's two steps and of one network trained on reconstruction and survival at once, by fold of a "
        "cross-validation inside the training patients. {train}.",
        model=True,
    ),
    "risk_groups": Artefact(
        "Risk groups in numbers",
        "Risk groups cut at the training median: sizes, {events}, hazard ratio ({level} interval), log-rank P, median follow-up by "
        "reverse Kaplan-Meier and median survival with {level} intervals (empty: not reached). n_near_cutoff: risk no further "
        "from the cut-off than its own SD over the {ensemble} networks. {cox}{train}; {tests}.",
        model=True,
    ),
    "c_index": Artefact(
        "C-index",
        "Harrell's C-index with {level} bootstrap interval over patients. {train}; {tests}.",
        model=True,
    ),
    "c_index_intervals": Artefact(
        "C-index, further intervals",
        "Harrell's C-index with percentile, BCa and analytic {level} intervals, and Uno's C-index. {train}; {tests}.",
        model=True,
    ),
    "c_index_published": Artefact(
        "Published and sampling intervals of the C-index",
        "The letter's intervals of the C-index beside this run's bootstrap and analytic {level} intervals over patients, which "
        "are several times as wide: the letter does not say what its intervals describe. {tests}.",
        published=Published("Fig. 5"),
        model=True,
    ),
    "fig5_models": Artefact(
        "Fig. 5 against other models",
        "Time-dependent AUC and C-index of TFDeepSurv and of other models on the same patients, with {level} bootstrap "
        "intervals. {tests}. Grey: what the model is compared with. NA: the set lacks a variable that the model needs.",
        "For each test set the cumulative/dynamic AUC over months after {time_origin}, a line a model named at its end, and beside "
        "it the C-index of each model with its interval; all but TFDeepSurv and its combination are grey. {c_index_model}.",
        model=True,
    ),
    "auc": Artefact(
        "Time-dependent AUC",
        "Cumulative/dynamic AUC with inverse probability of censoring weights and {level} bootstrap interval. {tests}.",
        model=True,
    ),
    "auc_horizons": Artefact(
        "AUC at the horizons",
        "Cumulative/dynamic AUC at the study's horizons with pointwise and simultaneous {level} bands; empty past a set's "
        "follow-up. {tests}.",
        model=True,
    ),
    "c_index_difference": Artefact(
        "Difference of C-index",
        "C-index of TFDeepSurv minus that of each definition and each continuous index on the same patients: percentile and BCa "
        "{level} intervals and P of the paired bootstrap, and the analytic interval and P, not adjusted for their number. {train}; {tests}.",
        model=True,
    ),
    "calibration": Artefact(
        "Calibration",
        "Observed against predicted risk of {event} at the study's horizons: groups of equal size with Kaplan-Meier intervals, "
        "a smooth curve with its bootstrap band, and from above a histogram of the predictions. O/E: observed over predicted "
        "{events}, below 1 where the model foresees too many. {uncounted}{tests}.",
        "A grid of square panels, sets in rows and horizons in columns: observed risk of {event} over predicted risk, dots with "
        "intervals for groups of patients, a smooth curve with a band, spikes for the patients by predicted risk, and the "
        "diagonal of perfect calibration; above, O/E, slope and ICI with intervals.",
        model=True,
    ),
    "calibration_summary": Artefact(
        "Calibration in numbers",
        "Predicted and observed risk of {event}, their ratio, calibration slope and integrated calibration index, with {level} "
        "bootstrap intervals; P of D-calibration up to the horizon and of one-calibration, NA where a group has no {event}. {tests}.",
        model=True,
    ),
    "subgroup_forest": Artefact(
        "By sex, age and centre",
        "C-index and O/E of TFDeepSurv in the subgroups of each test set, and the difference of the C-index from the first "
        "level that has one, with P, not adjusted for their number. {level} bootstrap intervals over patients; dotted: all "
        "patients of the set. NA: too few {events}. {tests}.",
        "A forest plot, a block a test set: all patients, then each sex, age group and centre in rows, with patients and "
        "{events}, the C-index and observed over predicted {events} drawn and printed with intervals, and the difference of the "
        "C-index with P.",
        model=True,
    ),
    "subgroups": Artefact(
        "By sex, age and centre, in numbers",
        "C-index of TFDeepSurv in the subgroups of each test set, its difference from the first level that has one (each level "
        "resampled by itself; P not adjusted for their number), and calibration at the last horizon, with {level} bootstrap "
        "intervals. Centre where the clinical table has one. {tests}.",
        model=True,
    ),
    "brier": Artefact(
        "Brier score",
        "Mean squared error of predicted risk, weighted for censoring, at the horizons and integrated; skill is the share of the "
        "Kaplan-Meier estimate's score that a model removes. {tests}.",
        model=True,
    ),
    "decision_curves": Artefact(
        "Decision curves",
        "Net benefit against the risk at which one would act, for the model, clinical variables, the best definition and "
        "their combinations; {level} bootstrap intervals over patients, {curve_replicates} replicates, drawn for the model and for the best "
        "definition, in the table for all. Without the earliest horizon, which is in the table. {uncounted}{tests}.",
        "A grid of panels, sets in rows and horizons in columns: net benefit over threshold probability, a line a model named at "
        "its end, with bands of the model and of the best definition, beside treating all and treating none.",
        model=True,
    ),
    "nri": Artefact(
        "Net reclassification",
        "Continuous net reclassification by adding the model, parts of events and of non-events apart, with {level} bootstrap "
        "intervals. It can be positive for a marker without information (Kerr 2014): prefer the next table. {tests}.",
        model=True,
    ),
    "added_value": Artefact(
        "Added value",
        "Likelihood-ratio test of the model's risk beside clinical variables and beside the best definition, in each test "
        "set; P not adjusted for its number. {tests}.",
        model=True,
    ),
    "cumulative_incidence": Artefact(
        "Recurrence with death as a competing risk",
        "Cumulative incidence of recurrence and of death without recurrence (Aalen-Johansen), and the naive estimate that takes "
        "such deaths for censored. {uncounted}{all}.",
        "A panel a set: cumulative incidence of recurrence and of death without recurrence over months after {time_origin}, with "
        "interval bands; a set without known recurrence is named below.",
    ),
    "incidence": Artefact(
        "Recurrence at the horizons",
        "Cumulative incidence of recurrence and of death without recurrence at the horizons, with {level} intervals. {uncounted}{all}.",
    ),
    "competing_risks": Artefact(
        "Recurrence and death before it, by definition",
        "Hazard ratios of sarcopenia for recurrence and for death without recurrence: cause-specific (the other event censors; "
        "Cox), of the subdistribution (Fine and Gray), and Gray's test of the two cumulative incidences, with {level} intervals. "
        "{uncounted}{all}.",
    ),
    "risk_group_models": Artefact(
        "Risk groups against the lowest",
        "Each risk group against the lowest: hazard ratio, the same adjusted for the clinical covariates in complete cases, P of "
        "proportional hazards (Schoenfeld, all groups), log-rank P, and difference of restricted mean survival to {rmst_months} "
        "months, with {level} intervals. {cox}{train}; {tests}.",
        model=True,
    ),
    "optimism": Artefact(
        "The luck of one split",
        "C-index of the whole pipeline (scaling, AutoEncoder, network, cut-off) fitted anew to other random splits, to "
        "bootstrap samples and to permuted outcomes. {discovery}.",
        "Left, a histogram of the C-index over random splits with lines at this study's split and, where the letter's numbers "
        "stand beside the study's, at the letter's; right, a dot for each fit of the pipeline by kind of resampling.",
        model=True,
    ),
    "optimism_summary": Artefact(
        "Optimism in numbers",
        "Apparent and optimism-corrected C-index (Harrell's bootstrap and .632+), mean and spread over random splits, and the C-index for permuted outcomes. "
        "{discovery}.",
        model=True,
    ),
    "stability": Artefact(
        "Stability of the features",
        "Intraclass correlation of every feature when the mask, the bin width or the noise changes, and in two negative "
        "controls. Training patients only.",
        "Distributions of the intraclass correlation by kind of perturbation and by class of feature.",
    ),
    "comparison": Artefact(
        "Published and ours at a glance",
        "Hazard ratios, prevalences and C-indices of the letter and of this run, with the printed intervals and this run's {level} "
        "intervals. {all}.",
        "Dot plot: for each published hazard ratio (OS, then RFS), prevalence and C-index this run's value with its interval and, "
        "below it, the printed value with its own, grouped by set.",
        model=True,
    ),
    "paper_comparison": Artefact(
        "Every published number beside ours",
        "Printed numbers of the letter and this run's, with this run's {level} interval where there is one. {all}.",
        model=True,
    ),
    "multiverse_hr": Artefact(
        "Choices of an analyst: hazard ratios",
        "Hazard ratio of low muscle under every choice of cut-off, HU window, grouping, endpoint and adjustment, in order of "
        "its size (specification curve). {uncounted}{all}.",
        "Above, a dot a specification in order of its hazard ratio, with its interval; below, a mark for each choice that it "
        "takes.",
    ),
    "multiverse_gain": Artefact(
        "Choices of an analyst: gain of the model",
        "C-index of TFDeepSurv less that of each marker under every choice of split and AutoEncoder size, in order of its "
        "size (specification curve). {tests}.",
        "Above, a dot a specification in order of the gain in C-index, with its interval; below, a mark for each choice that "
        "it takes.",
        model=True,
    ),
    "power": Artefact(
        "Power",
        "Share of synthetic cohorts of each size in which a finding is significant, and the size at which it would be often "
        "enough. Cohorts are drawn by the generator of the synthetic patients.",
        "A line a finding: share of significant cohorts over the number of patients, with Wilson intervals.",
    ),
    "search": Artefact(
        "Search of hyperparameters",
        "Loss of each trial by cross-validated partial likelihood within the training patients, and the best so far. {train}.",
        "A dot a trial: loss per event over the number of the trial, a line for the best so far and one for the study's own "
        "values.",
        model=True,
    ),
    "validation_case_mix": Artefact(
        "Validation: case mix",
        "Median and quartiles (each the mean of five patients' values), or share, of the training patients as the model's "
        "folder tells them and of each judged set; below, the share of patients whose features are unlike the training "
        "patients', the share of features outside their span, and the risk. {validated}.",
        model=True,
    ),
    "validation_discrimination": Artefact(
        "Validation: discrimination",
        "Time-dependent AUC and C-index of a saved model and of every definition, with {level} bootstrap intervals over "
        "patients. {validated}.",
        "For each judged set the cumulative/dynamic AUC over months after {time_origin}, a line a marker, and beside it the C-index "
        "of each marker with its interval.",
        model=True,
    ),
    "validation_c_index_difference": Artefact(
        "Validation: difference of C-index",
        "C-index of the saved model minus that of each definition and each continuous index on the same patients, with {level} "
        "intervals. {validated}.",
        model=True,
    ),
    "validation_decision_curves": Artefact(
        "Validation: decision curves",
        "Net benefit against the risk at which one would act, for the saved model for the clinical model of its "
        "training patients and for acting on each definition of sarcopenia at any threshold; {level} bootstrap intervals over "
        "patients, drawn for the saved model and in the table for all. {validated}.",
        "A grid of panels, sets in rows and horizons in columns: net benefit over threshold probability, a line for the models "
        "and for each definition, named at its end, beside treating all and treating none.",
        model=True,
    ),
    "validation_risk_curves": Artefact(
        "Validation: risk groups",
        "Kaplan-Meier curves of {endpoint} in the two risk groups, cut where the saved model says, with those whose risk "
        "lies no further from it than its own SD over the networks. {validated}.",
        "A panel a judged set, each with two Kaplan-Meier curves, high and low risk, interval bands, hazard ratio, log-rank P, "
        "and numbers at risk, censored and of events.",
        model=True,
    ),
    "validation_risk_groups": Artefact(
        "Validation: risk groups in numbers",
        "Risk groups cut where the saved model says: sizes, {events}, hazard ratio ({level} interval), log-rank P, median "
        "follow-up and survival; HR per SD of all judged patients. {validated}.",
        model=True,
    ),
    "validation_added_value": Artefact(
        "Validation: added value",
        "Likelihood-ratio test of the saved model's risk beside clinical variables and beside each definition, fitted to the "
        "judged patients. {validated}.",
        model=True,
    ),
    "validation_recalibration": Artefact(
        "Validation: after recalibration",
        "Intercept and slope fitted to the judged patients, and calibration of predictions of each patient by the fit to the "
        "other folds, with {level} bootstrap intervals. No other table uses them. {validated}.",
        model=True,
    ),
    "validation_tripod": Artefact(
        "Validation: TRIPOD+AI",
        "The items of TRIPOD+AI that an external validation answers; site: only those who have the patients know. {validated}.",
        model=True,
    ),
    "exclusions": Artefact(
        "Exclusions",
        "Patients who could not be used, or (stage radiomics) not for the model, with the reason. {excluded}.",
    ),
}
# Of a saved model they are what they are of the study's.
ARTEFACTS |= {
    f"validation_{stem}": replace(
        (like := ARTEFACTS[stem]),
        title=f"Validation: {like.title[0].lower() if like.title[1].islower() else like.title[0]}{like.title[1:]}",
        caption=like.caption.replace("{train}; {tests}", "{validated}").replace("{tests}", "{validated}"),
    )
    for stem in ("c_index", "c_index_intervals", "auc_horizons", "calibration", "calibration_summary", "brier")
}


def describe(stem: str) -> Artefact:
    """What a table or figure is; one without an entry goes by its name."""
    if stem in ARTEFACTS:
        return ARTEFACTS[stem]
    if match := FURTHER.fullmatch(stem):
        # Like Fig. S3, which is the second external set, and without anything published beside it.
        number = int(match.group(1))
        like = ARTEFACTS["figS3"]
        texts = {key: getattr(like, key).replace("test2}", f"test{number - 1}}}") for key in ("caption", "alt")}
        return replace(like, title=f"Fig. S{number}", published=None, **texts)
    return Artefact(stem.replace("_", " ").capitalize(), "{all}.", stem.replace("_", " "), model=True)


def published_beside(stem: str, params: Params) -> Published | None:
    """The letter's numbers that belong beside a table or figure, of the outcome that it shows in this study."""
    wanted = describe(stem).published
    if wanted is None or wanted.outcome is None:
        return wanted
    first, second, *_ = params.statistics.outcomes
    return replace(wanted, outcome=first if wanted.outcome == "OS" else second)


def stems(params: Params | None = None) -> list[str]:
    """Every table and figure once, of a study or of all notebooks; in the order of ``ARTEFACTS``, then the others."""
    notebooks = reported_notebooks(params) if params else ALL_NOTEBOOKS
    made = list(dict.fromkeys(Path(file).stem for files in notebooks.values() for file in files))
    order = {stem: k for k, stem in enumerate(ARTEFACTS)}
    last = order["figS3"]
    return sorted(made, key=lambda stem: order.get(stem, last if FURTHER.fullmatch(stem) else len(order)))


def notebook_of(stem: str) -> str:
    """The notebook that makes a table or figure."""
    if FURTHER.fullmatch(stem):
        return "02_sarcopenia"
    return next(name for name, files in ALL_NOTEBOOKS.items() if any(Path(file).stem == stem for file in files))


def produced(study: Study) -> list[str]:
    """File names of the tables and figures that the study has made, in the order of ``stems``."""
    listed = {file for files in reported_notebooks(study.params).values() for file in files}
    order = {stem: k for k, stem in enumerate(stems(study.params))}
    there = [file for file in listed if (study.figures / file).is_file()]
    return sorted(there, key=lambda file: (order[Path(file).stem], file))


def missing_artefacts(study: Study) -> dict[str, list[str]]:
    """Files that a notebook should have made and that are not there, by notebook."""
    missing = {}
    for name, files in possible_notebooks(study.params).items():
        gone = [file for file in files if not (study.figures / file).is_file()]
        if gone:
            missing[name] = gone
    return missing


def ask_again(study: Study, stages: Iterable[str] = (), damaged: Collection[str] = ()) -> None:
    """Touch ``again/<name>`` for each notebook whose outputs are not all there, so that make runs it again, and for each
    stage or notebook that is ``damaged``; each of ``stages`` has such a file too.

    A file of its own, because make looks at a notebook before the stage that could remove it.
    """
    missing = missing_artefacts(study)
    for name in (*ALL_NOTEBOOKS, *stages):
        stamp = study.build / "again" / name
        if name in missing or name in damaged or not stamp.is_file():
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
