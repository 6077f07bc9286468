"""The study's parameters: one YAML file a study, typed, with every name checked.

``params/<study>.yaml`` may name a ``base`` study whose values it overrides, so a what-if is a file of a
few lines. An unknown name stops the run and suggests the right one. ``write_sections`` writes each
section to its own JSON file, and only if it changed, so that make re-runs what depends on it and no more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator

from analysis_lib.common.errors import ParameterError, suggest
from analysis_lib.common.files import write_text_if_changed
from analysis_lib.common.settings import Fraction, Label, Months, Once, Positive, Section, Width
from analysis_lib.common.yaml_files import read_yaml
from analysis_lib.core.archive_params import FetchParams, MaskParams
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.core.question_params import LETTER, Condition, CoxParams, Endpoint, Outcome, RiskGroups, subset_text
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.ct.settings import HuWindow, ImageParams
from analysis_lib.standin.settings import StandinParams

PARAMS_DIR = Path(__file__).resolve().parents[2] / "params"  # of this checkout
SYNTHETIC_NOTE = "Synthetic images and outcomes: no patient data. Nothing here says anything about patients."

# What a definition may be of.
IndexColumn = Literal[
    "pm_area_cm2", "pmi", "pm_mean_hu", "smi", "sm_mean_hu", "nama_index", "lama_index",
    "pm_area_cm2_z", "pmi_z", "pm_mean_hu_z", "smi_z", "sm_mean_hu_z", "nama_index_z", "lama_index_z",
]  # fmt: skip

# What may have a range of cut-offs: an index, all z-scores together, and the BMI from which others hold.
RangeOf = Literal["pm_area_cm2", "pmi", "pm_mean_hu", "smi", "sm_mean_hu", "nama_index", "lama_index", "z", "bmi"]

# The clinical covariates, here and nowhere else; the stand-in cohort has the same, of its own settings.
Covariate = Literal["age", "sex", "bmi", "tumour_diameter_over_5cm", "tumour_single", "vascular_invasion"]
COVARIATES: tuple[Covariate, ...] = get_args(Covariate)
TUMOUR = COVARIATES[3:]
MOST_MONTHS = 1000  # of a curve: more than one a month of the longest follow-up


def in_the_data_folder(name: str) -> str:
    """A name of a file; ValueError where it has a path."""
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError("table is a name in the data folder, without a path")
    return name


class SetParams(Section):
    """One set of patients, by its value in the column ``set`` of patients.csv."""

    label: Label = Field(description="Name in tables and figures, for example 'External test'.")
    role: Literal["discovery", "train", "test"] = Field(
        description="'discovery' is split into training and internal test, 'train' is trained on as a whole, 'test' is "
        "never trained on."
    )


class CohortParams(Section):
    """Which sets there are and how the discovery set is split."""

    sets: dict[Label, SetParams] = Field(description="Sets by name, in the order of the tables.")
    internal_fraction: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Share of each discovery set kept as internal test (floor of the number); 0 for none.",
    )
    stratify_by_event: bool = Field(
        False, description="Split dead and censored patients apart, so that both parts get their share."
    )

    @model_validator(mode="after")
    def _names(self) -> CohortParams:
        if not self.sets:
            raise ValueError("at least one set must be there")
        if reserved := set(self.sets) & {"train", "internal", "unknown"}:
            raise ValueError(f"set names {sorted(reserved)} are kept for the parts of the discovery set; rename")
        for name in self.sets:
            if not name or len(name) > 64 or any(not (c.isalnum() or c in "._- ") for c in name):
                raise ValueError("set names may hold letters, digits, blanks, '.', '_' and '-' only, at most 64")
        return self

    def command(self, study: str) -> str:
        """What makes the results of a study of these sets."""
        return f"make study STUDY={study}" if self.trained else f"make validate STUDY={study} MODEL=<folder>"

    def check_trained(self) -> None:
        """Raise ParameterError where no set is trained on, as of a site that judges a saved model alone."""
        if not self.trained:
            raise ParameterError(
                "no set of cohort.sets has the role 'discovery' or 'train', so there is nothing to train on; give one "
                f"of them, or judge a saved model: {self.command('<study>')}"
            )

    @property
    def trained(self) -> list[str]:
        """Names of the sets that are trained on, split or whole."""
        return [name for name, s in self.sets.items() if s.role != "test"]

    @property
    def split_sets(self) -> list[str]:
        """Names of the sets that are split into training and internal test."""
        return [n for n, s in self.sets.items() if s.role == "discovery" and self.internal_fraction > 0]

    @property
    def discovery(self) -> str:
        """The first set that is trained on."""
        self.check_trained()
        return self.trained[0]

    @property
    def external_sets(self) -> list[str]:
        """Names of the sets of role 'test'."""
        return [name for name, s in self.sets.items() if s.role == "test"]

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets in table order: the internal one if there is one, then every set of role 'test'."""
        return [*(["internal"] if self.split_sets else []), *self.external_sets]

    @property
    def splits(self) -> list[str]:
        """What patients are analysed apart: the training patients if any set is trained on, then the test sets."""
        return [*(["train"] if self.trained else []), *self.test_sets]

    def judged(self, names: Collection[str]) -> CohortParams:
        """The sets of these names, the internal test set too, as test sets for a model that none was trained on."""
        parts = {"internal": SetParams(label=self.label("internal"), role="test"), **self.sets}
        sets = {name: s.model_copy(update={"role": "test"}) for name, s in parts.items() if name in names}
        return self.model_copy(update={"sets": sets})

    @property
    def labels(self) -> dict[str, str]:
        """Label of each set by its name, in table order."""
        return {name: entry.label for name, entry in self.sets.items()}

    def label(self, name: str) -> str:
        """Label of a set or of a part of the discovery set."""
        return {"train": "Training", "internal": "Internal test"}.get(name) or self.sets[name].label


class BmiClass(Section):
    """Cut-offs of a definition from a body mass index on."""

    bmi_at_least: Positive = Field(description="Lowest BMI of the class, kg/m2.")
    men: float = Field(description="Cut-off for men in the class.")
    women: float = Field(description="Cut-off for women in the class.")


class DefinitionParams(Section):
    """One published definition of sarcopenia: below the cut-off is sarcopenic."""

    source: Label = Field(description="First author and year.")
    doi: Label = Field(description="DOI of the publication.")
    column: IndexColumn = Field(
        description="Measured index that is compared, or its z-score by the reference, as smi_z."
    )
    label: Label = Field(description="Name of the index in words.")
    unit: Label = Field(description="Unit of index and cut-off.")
    men: float = Field(description="Cut-off for men; below is sarcopenic.")
    women: float = Field(description="Cut-off for women; below is sarcopenic.")
    bmi_classes: list[BmiClass] = Field(
        default_factory=list,
        description="Cut-offs that replace men and women from a BMI on; a patient of unknown BMI whom they concern "
        "has no verdict.",
    )

    def cut_offs(self, index: RangeOf) -> list[tuple[str, RangeOf, float]]:
        """Each cut-off as (parameter, what it is of, value); ``index`` is what those of the definition are of."""
        found: list[tuple[str, RangeOf, float]] = [("men", index, self.men), ("women", index, self.women)]
        for k, group in enumerate(self.bmi_classes):
            found += [(f"bmi_classes.{k}.bmi_at_least", "bmi", group.bmi_at_least)]
            found += [(f"bmi_classes.{k}.{sex}", index, getattr(group, sex)) for sex in ("men", "women")]
        return found

    @model_validator(mode="after")
    def _possible(self) -> DefinitionParams:
        cut_offs = [self.men, self.women, *(c for group in self.bmi_classes for c in (group.men, group.women))]
        # An area is positive; a density or a z-score need not be.
        if not self.column.endswith(("_hu", "_z")) and min(cut_offs) <= 0:
            raise ValueError(
                f"a cut-off of {self.column} must be above 0, not {min(cut_offs):g}; give it in {self.unit}"
            )
        return self


class CutOffRange(Section):
    """Between which values a cut-off is believed; outside it is in another unit, or a digit slipped."""

    low: float = Field(description="Lowest cut-off that is believed.")
    high: float = Field(description="Highest one.")
    reason: Label = Field(description="Why no cut-off lies outside, for who meets the limit.")

    @model_validator(mode="after")
    def _ordered(self) -> CutOffRange:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class ReferenceParams(Section):
    """Published values by age and sex, to which the indices are compared as z-scores and percentiles."""

    table: str = Field(
        "",
        description="File in the data folder: .csv, .xlsx or .parquet with the columns sex, age, index, L, M, S; empty "
        "for none.",
    )

    @field_validator("table")
    @classmethod
    def _in_the_data_folder(cls, name: str) -> str:
        return in_the_data_folder(name)


class RoiFeatures(Section):
    """Radiomics of one region of interest."""

    parameter_file: str = Field(description="PyRadiomics parameter file, relative to params/.")


class HarmoniseParams(Section):
    """ComBat of the features over scanners, learnt of the training patients alone; off without a batch."""

    batch: Label = Field(
        "",
        description="Column of the clinical table with the scanner of each CT, or what else makes a batch; empty for "
        "none. Patients of a scanner that no training patient has, or of an unknown one, keep their features as they "
        "are.",
    )
    smallest: int = Field(
        20,
        ge=3,
        description="Training patients of a batch, below which the run stops (10.2967/jnumed.121.262464: 20 to 30).",
    )


class FeatureParams(Section):
    """Which radiomics features are extracted; a study with ``features: null`` has none, and no model."""

    rois: dict[Literal["sm", "pm"], RoiFeatures] = Field(
        default_factory=dict, description="Parameter file of each region."
    )
    expected_count: int = Field(0, ge=0, description="Number of features; another number stops the run.")
    table: str = Field(
        "",
        description="File in the data folder with features that were extracted elsewhere, a row a patient: .csv, .xlsx "
        "or .parquet. Then nothing is extracted, and rois and expected_count do not count.",
    )
    min_icc: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="The model uses only features whose lowest ICC of the stability analysis is at least this; 0 all.",
    )
    harmonise: HarmoniseParams = Field(default_factory=HarmoniseParams, description="ComBat over scanners.")

    @model_validator(mode="before")
    @classmethod
    def _table_alone(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("table"):
            return {name: given for name, given in value.items() if name not in ("rois", "expected_count")}
        return value

    @field_validator("table")
    @classmethod
    def _in_the_data_folder(cls, name: str) -> str:
        return in_the_data_folder(name)


class StabilityParams(Section):
    """Features of disturbed images and masks, to see which repeat themselves; off with patients: 0."""

    patients: int = Field(0, ge=0, description="Training patients drawn for it, for example 40; 0 switches it off.")
    bin_widths_hu: list[Positive] = Field(
        default_factory=lambda: [20.0, 30.0], description="Bin widths compared with that of the parameter files, HU."
    )
    noise_hu: Positive = Field(5.0, description="SD of the Gaussian noise added to the image, HU.")
    contour_px: Positive = Field(0.5, description="SD of the random displacement of the contour, pixels.")
    moved_mm: Positive = Field(20.0, description="How far the negative control moves the regions backwards, mm.")


class PcaParams(Section):
    """Principal components of the features, for Fig. 3 only."""

    components: int = Field(3, ge=2, description="Components shown and used to measure separation.")
    folds: int = Field(5, ge=2, description="Cross-validation folds of the linear rule on the components.")


class ComparatorParams(Section):
    """Other models beside the network, on the same training patients."""

    coxnet_l1_ratio: float = Field(0.5, gt=0, le=1, description="Share of L1 in the elastic net's penalty.")
    folds: int = Field(5, ge=2, description="Folds in the training set that choose the elastic net's penalty.")
    trees: int = Field(300, gt=0, description="Trees of the random survival forest and of gradient boosting.")


class ImportanceParams(Section):
    """How much worse the model does where features are permuted among the patients of a test set."""

    permutations: int = Field(20, ge=2, description="Random permutations of the patients, the same for each group.")
    min_events: int = Field(10, ge=1, description="Events of a test set, below which it is not asked.")


class OptimismParams(Section):
    """The whole pipeline fitted again to other patients."""

    repeats: int = Field(50, ge=0, description="Random splits, and as many bootstrap samples; 0 leaves both out.")
    permutations: int = Field(20, ge=0, description="Splits with permuted outcomes, the negative control.")


class SearchParams(Section):
    """Search of hyperparameters inside the training set (make search)."""

    trials: int = Field(40, ge=1, description="Trials in all, those of an interrupted search included.")
    folds: int = Field(5, ge=2, description="Folds in the training set that judge a trial.")


class StatisticsParams(Section):
    """Intervals, horizons and follow-up."""

    confidence: Fraction = Field(0.95, description="Level of every interval.")
    bootstrap_replicates: int = Field(
        10_000, ge=100, description="Bootstrap replicates of the C-index, its differences and the AUC."
    )
    curve_replicates: int = Field(
        1000,
        ge=100,
        description="Those of Brier score, net benefit, calibration, reclassification and separation, of which each "
        "one estimates a curve or a model anew, and of the multiverse and the power.",
    )
    auc_first_month: Months = Field(6, description="First time of the AUC curves, months.")
    auc_last_month: Months = Field(60, description="Last time of the AUC curves, months.")
    auc_min_deaths: int = Field(
        5,
        ge=1,
        description="Deaths by a month, below which the AUC of a set is not given there: it would be of too few.",
    )
    auc_step_months: Months = Field(3, description="Step of the AUC curves, months.")
    horizons_months: Annotated[list[Months], Once] = Field(
        default_factory=lambda: [12.0, 36.0, 60.0],
        description="1, 3 and 5 years, months of 30.4375 days. Others must lie within somebody's follow-up.",
    )
    time_origin: Label = Field(
        "surgery",
        min_length=1,
        description="What follow-up counts from, as axes, captions and methods say it: 'Months after surgery'.",
    )
    adjust_for: list[Covariate] = Field(
        default_factory=lambda: ["age", "sex", *TUMOUR],
        description="Covariates of the adjusted hazard ratios and of the clinical model, where a set has them.",
    )
    at_risk_months: Annotated[list[Annotated[int, Field(ge=0, le=600)]], Once] = Field(
        default_factory=lambda: [0, 12, 24, 36, 48, 60],
        min_length=2,
        description="Months at which the Kaplan-Meier curves count the patients at risk, the axis ending at the last.",
    )
    imputations: int = Field(20, ge=2, description="Imputed data sets of the adjusted hazard ratios.")
    imputation_rounds: int = Field(10, ge=1, description="Rounds of chained equations for each imputed data set.")
    firth_below_events: int = Field(
        5, ge=0, description="Firth's penalised hazard ratio is given where a group has fewer events than this."
    )
    events_per_variable: Positive = Field(
        10,
        description="Below so many events for each covariate an adjusted hazard ratio has a note "
        "(10.1016/0895-4356(95)00048-8; a rule of thumb, see 10.1093/aje/kwk052).",
    )
    rmst_months: Months = Field(60, description="Horizon of the restricted mean survival time, months.")
    spline_knots: list[Fraction] = Field(
        default_factory=lambda: [0.05, 0.35, 0.65, 0.95],
        min_length=3,
        description="Quantiles at which the spline of an index has its knots (10.1007/978-3-319-19425-7).",
    )
    calibration_groups: int = Field(5, ge=2, description="Groups of the calibration curve.")
    subgroup_age: Positive = Field(65, description="Age that parts the older from the younger in subgroups, years.")
    subgroup_min_events: int = Field(
        10,
        ge=1,
        description="Events of a subgroup of a set, below which nothing is estimated there: of so few, an interval "
        "says next to nothing.",
    )
    decision_thresholds: list[Fraction] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="First and last threshold probability of the decision curves; null takes a tenth and twice the "
        "share that has died by the horizon, in each set.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> StatisticsParams:
        if self.auc_first_month > self.auc_last_month:
            raise ValueError(
                f"auc_first_month ({self.auc_first_month:g}) must not be after auc_last_month ({self.auc_last_month:g})"
            )
        months = (self.auc_last_month - self.auc_first_month) / self.auc_step_months
        if months > MOST_MONTHS:
            raise ValueError(
                f"auc_step_months ({self.auc_step_months:g}) makes curves of {months:.0f} months; take a step that "
                f"makes at most {MOST_MONTHS}"
            )
        if sorted(set(self.spline_knots)) != self.spline_knots:
            raise ValueError("spline_knots: give quantiles in rising order, each once, as [0.05, 0.35, 0.65, 0.95]")
        first, last = self.decision_thresholds or (0.0, 1.0)
        if first >= last:
            raise ValueError(f"decision_thresholds: the first ({first:g}) must be below the last ({last:g})")
        return self

    # Of the study (see Params), since whoever computes a statistic or names one needs them.
    _landmark_months: float = PrivateAttr(0)
    _endpoint: Endpoint = PrivateAttr(default_factory=Endpoint)

    _cox: CoxParams = PrivateAttr(default_factory=CoxParams)

    @property
    def cox(self) -> CoxParams:
        """How the hazard ratios of Table 2 are estimated."""
        return self._cox

    @property
    def endpoint(self) -> Endpoint:
        """What the study asks about."""
        return self._endpoint

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Outcomes of the hazard ratios by abbreviation, the endpoint first."""
        return self._endpoint.outcomes

    @property
    def origin(self) -> str:
        """What the times of the analysis count from: ``time_origin``, or the study's landmark."""
        return f"landmark at {self._landmark_months:g} months" if self._landmark_months else self.time_origin

    @property
    def time_axis(self) -> str:
        """Label of an axis of time."""
        return f"Months after {self.origin}"

    def curve_months(self) -> list[float]:
        """Months of the AUC curves and of predicted survival, in order, the horizons among them."""
        first, step = self.auc_first_month, self.auc_step_months
        steps = math.floor((self.auc_last_month - first) / step + 1e-9)  # a step of 0.1 must reach the last month too
        return sorted({*(first + k * step for k in range(steps + 1)), *self.horizons_months})


# Of StatisticsParams, what the notebooks use that adjust hazard ratios or draw splines, and no other.
ADJUSTMENT = ("adjust_for", "imputations", "imputation_rounds", "firth_below_events", "rmst_months", "spline_knots")


class ValidationParams(Section):
    """A saved model judged on the study's patients (``make validate``)."""

    recalibrate: bool = Field(
        False,
        description="Also judge the model with intercept and slope fitted to these patients, in a table of its own.",
    )
    folds: int = Field(10, ge=2, description="Parts of the patients, each predicted by the fit to the others.")


class MultiverseParams(Section):
    """The choices an analyst could have made instead (``make multiverse``)."""

    cut_off_steps: int = Field(5, ge=2, description="Cut-offs tried between the lowest and the highest published one.")
    cut_off_spread: Fraction = Field(
        0.1, description="Share by which a cut-off is moved down and up where only one is published."
    )
    hu_windows: list[HuWindow] = Field(
        default_factory=list, description="Other HU windows of SM, measured anew where the images are there."
    )
    split_seeds: int = Field(4, ge=1, description="Random splits of the discovery set.")
    code_sizes: list[Width] = Field(default_factory=lambda: [50, 100], description="AutoEncoder sizes.")
    ensemble: int = Field(3, ge=1, description="Networks of each model.")
    harmonise: Label = Field(
        "",
        description="Column of scanners: features that ComBat makes alike over them are one more choice; empty takes "
        "that of features.harmonise.",
    )
    power_factors: list[Positive] = Field(
        default_factory=lambda: [0.3, 0.5, 1.0, 2.0, 4.0, 8.0],
        description="Sizes of the power calculation, as multiples of the discovery set.",
    )
    power_draws: int = Field(100, ge=10, description="Synthetic cohorts drawn for each size.")
    power_wanted: Fraction = Field(0.8, description="Power at which the size that a study needs is read off.")
    power_score_error: Positive = Field(
        0.35,
        description="SD of the error with which the model's score sees the infiltration; its C-index is near 0.73.",
    )


class Params(Section):
    """Everything a run depends on beside its data."""

    study: str = Field(description="Name of the study; outputs go to build/<study> and figures/<study>.")
    title: Label = Field(description="One line for figures and tables.")
    seed: int = Field(ge=0, description="The one seed; every random number descends from it.")
    data_dir: str = Field(
        "",
        description="Folder with patients.csv, ct/ and masks/, relative to the project; data/<study> if empty. "
        "A study that names one reads it and never writes there.",
    )

    published: str = Field(
        "published",
        pattern=r"^published\w*$",
        description="File of printed numbers that notebook 07 sets beside the study's, in params/ and without .yaml.",
    )
    workers: int = Field(0, ge=0, description="Processes for the heavy stages; 0 takes all cores.")
    endpoint: Endpoint = Field(
        default_factory=Endpoint,
        description="What the model predicts and every figure shows: os, rfs, recurrence (which death takes away), or "
        "columns of the clinical table with their names.",
    )
    subset: dict[Label, Condition] = Field(
        default_factory=dict,
        description="Of whom the study asks: columns of the clinical table and the values or the part of the numbers "
        "that is meant, as {sex: female, age: {at_least: 60}}; everybody if empty.",
    )
    landmark_months: float = Field(
        0,
        ge=0,
        le=600,
        description="Month of follow-up from which times count, of the patients still at risk then; 0 for the start.",
    )
    risk_groups: RiskGroups = Field(
        "",
        description="Groups of Fig. 4c-f: empty for the training median, tertiles of the training patients, or one to "
        "three cuts of the risk, as [-0.5, 0.5]. Given, also as median, it adds a table of each group against the "
        "lowest: adjusted, with the test of proportional hazards and restricted means.",
    )
    cox: CoxParams = Field(default_factory=CoxParams, description="Cox models, log-rank tests and curves.")
    cohort: CohortParams = Field(description="Sets and split.")
    clinical: ClinicalParams = Field(default_factory=ClinicalParams, description="The clinical table.")
    fetch: FetchParams | None = Field(None, description="A public collection to take the patients from (make fetch).")
    masks: MaskParams = Field(default_factory=MaskParams, description="Automatic masks (make masks).")
    images: ImageParams = Field(description="CT and masks.")
    definitions: dict[Label, DefinitionParams] = Field(min_length=1, description="Definitions of sarcopenia by index.")
    further_definitions: dict[Label, DefinitionParams] = Field(
        default_factory=dict,
        description="Definitions that the paper does not have: off in its tables and figures, on in the extended one.",
    )
    cut_off_ranges: dict[RangeOf, CutOffRange] = Field(
        default_factory=dict,
        description="Between which values the cut-offs of an index are believed, in its unit; an index without has no "
        "limits. z is of all z-scores, bmi of the classes of a definition.",
    )
    reference: ReferenceParams = Field(
        default_factory=ReferenceParams, description="Published values of the indices by age and sex."
    )
    features: FeatureParams = Field(
        default_factory=FeatureParams, description="Radiomics; null for a study of the indices alone."
    )
    stability: StabilityParams = Field(default_factory=StabilityParams, description="Stability of the features.")
    pca: PcaParams = Field(default_factory=PcaParams, description="Principal components.")
    autoencoder: AutoEncoderParams = Field(default_factory=AutoEncoderParams, description="AutoEncoder.")
    network: NetworkParams = Field(default_factory=NetworkParams, description="Cox network.")
    comparators: ComparatorParams = Field(default_factory=ComparatorParams, description="Other models.")
    importance: ImportanceParams = Field(default_factory=ImportanceParams, description="Which features carry the risk.")
    optimism: OptimismParams = Field(default_factory=OptimismParams, description="Resampling of the pipeline.")
    search: SearchParams = Field(default_factory=SearchParams, description="Search of hyperparameters.")
    statistics: StatisticsParams = Field(default_factory=StatisticsParams, description="Statistics.")
    validation: ValidationParams = Field(default_factory=ValidationParams, description="A saved model judged.")
    multiverse: MultiverseParams = Field(default_factory=MultiverseParams, description="What if.")
    standin: StandinParams | None = Field(
        None, description="How the synthetic cohort is made; absent for a study of real patients."
    )

    @model_validator(mode="after")
    def _believable_cut_offs(self) -> Params:
        for section in ("definitions", "further_definitions"):
            for key, definition in getattr(self, section).items():
                index = "z" if definition.column.endswith("_z") else definition.column
                for parameter, of, value in definition.cut_offs(index):
                    limits = self.cut_off_ranges.get(of)
                    if limits and not limits.low <= value <= limits.high:
                        unit = "kg/m²" if of == "bmi" else definition.unit
                        raise ValueError(
                            f"{section}.{key}.{parameter} {value:g} {unit} lies outside {limits.low:g} to "
                            f"{limits.high:g}: {limits.reason}; give it in {unit}, or widen cut_off_ranges.{of}"
                        )
        return self

    @model_validator(mode="after")
    def _icc_needs_stability(self) -> Params:
        if self.features.min_icc > 0 and self.stability.patients < 10:
            raise ValueError(
                f"features.min_icc {self.features.min_icc:g} needs the stability analysis: set stability.patients to "
                "10 or more, for example 40"
            )
        return self

    @model_validator(mode="after")
    def _stability_needs_radiomics(self) -> Params:
        if self.stability.patients and not self.radiomics:
            raise ValueError("stability.patients needs radiomics, and features is null: set stability.patients to 0")
        if self.stability.patients and self.features.table:
            raise ValueError(
                "stability.patients needs images whose features can be taken again, and features.table gives them "
                "ready: set stability.patients to 0"
            )
        return self

    @model_validator(mode="after")
    def _statistics_of_the_question(self) -> Params:
        self.statistics._landmark_months, self.statistics._endpoint = self.landmark_months, self.endpoint
        self.statistics._cox = self.cox
        return self

    @property
    def steps(self) -> list[str]:
        """By which steps the study asks of fewer patients than it could use, as the flowchart names them."""
        subset = [subset_text(self.subset)] if self.subset else []
        known = [f"{self.endpoint.title} known"] if self.endpoint != Endpoint() else []
        landmark = [f"At risk at {self.landmark_months:g} months"] if self.landmark_months else []
        return [*subset, *known, *landmark]

    @property
    def question(self) -> str:
        """What the study asks, as titles and captions have it; empty for the overall survival of all from the start."""
        return "; ".join(step[0].lower() + step[1:].removesuffix(" known") for step in self.steps)

    @property
    def asks(self) -> dict[str, str]:
        """What a saved model is for: its endpoint, and of which patients."""
        patients = [step for step in self.steps if not step.endswith(" known")]
        return {"endpoint": self.endpoint.name, "patients": "; ".join(patients)}

    @property
    def heading(self) -> str:
        """The title with of whom the study asks."""
        return f"{self.title} ({self.question})" if self.question else self.title

    def asked_columns(self) -> list[str]:
        """Columns of the clinical table that the question names and that not every study reads."""
        named = {
            *self.subset,
            *self.cox.strata,
            self.cox.entry,
            self.cox.weights,
            self.features.harmonise.batch,
            self.multiverse.harmonise,
            self.endpoint.months,
            self.endpoint.event,
        }
        letter = {"rfs_cause", *(e[column] for e in LETTER for column in ("months", "event"))}
        return sorted(named - {"", *COVARIATES, "set", "centre", *letter})

    @property
    def radiomics(self) -> bool:
        """Whether the study has radiomics, and so a model, or the indices alone."""
        return bool(self.features.rois or self.features.table)

    @property
    def synthetic(self) -> bool:
        """Whether the patients are drawn and not real."""
        return self.standin is not None


def load_params(study: str, params_dir: Path = PARAMS_DIR) -> Params:
    """Read ``params/<study>.yaml`` on top of its bases.

    Raises ParameterError naming the parameter, the cause and the fix.
    """
    raw = _read_with_bases(study, params_dir, seen=())
    raw["study"] = study
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParameterError(_explain(error, f"params/{study}.yaml", raw)) from None


def write_sections(params: Params, folder: Path) -> None:
    """Write each top-level parameter to ``folder/<name>.json``, touching only what changed.

    Of ``statistics``, what few notebooks use has a file of its own, and so have the months that the model predicts for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # workers is left out because the number of processes changes no result
    sections = params.model_dump(mode="json", exclude={"workers"})
    sections["adjustment"] = {name: sections["statistics"].pop(name) for name in ADJUSTMENT}
    sections["months"] = params.statistics.curve_months()
    sections["asked_columns"] = params.asked_columns()
    for name, value in sections.items():
        write_text_if_changed(folder / f"{name}.json", json.dumps(value, indent=1) + "\n")


def _read_with_bases(study: str, params_dir: Path, seen: tuple[str, ...]) -> dict[str, Any]:
    path = params_dir / f"{study}.yaml"
    if study in seen:
        raise ParameterError(f"params/{study}.yaml: base studies form a circle ({' -> '.join(seen)})")
    if not path.is_file():
        known = sorted(p.stem for p in params_dir.glob("*.yaml"))
        raise ParameterError(f"no parameter file params/{study}.yaml{suggest(study, known)}")
    raw = read_yaml(path, f"params/{study}.yaml")
    base = raw.pop("base", None)
    if base is None:
        return raw
    return _merge(_read_with_bases(str(base), params_dir, (*seen, study)), raw)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        elif value is None and isinstance(merged.get(key), dict):
            del merged[key]  # null drops what the base has
        else:
            merged[key] = value
    return merged


def _explain(error: ValidationError, where: str, raw: dict[str, Any]) -> str:
    lines: list[str] = []
    lacking: dict[tuple[str, ...], list[str]] = {}
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        dotted = ".".join(path)
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown parameter '{dotted}'{suggest(path[-1], _known_names(path[:-1]))}")
        elif item["type"] == "missing":
            lacking.setdefault(tuple(path[:-1]), []).append(path[-1])
        else:
            cause = item["msg"].removeprefix("Value error, ")
            given = "" if isinstance(item["input"], (dict, list, Params)) else f" (given: {item['input']!r})"
            at = f"parameter '{dotted}': " if dotted else ""  # several parameters together name themselves
            # of an entry that is there a value is wrong, not the name
            lines.append(f"{where}: {at}{cause}{given}{_other_entry(path, raw) if item['input'] is None else ''}")
    for entry, names in lacking.items():
        what = f"'{'.'.join(entry)}' lacks" if entry else "the file lacks"
        lines.append(f"{where}: {what} {', '.join(names)}{_other_entry(list(entry), raw)}")
    return "\n".join(lines)


def _other_entry(path: list[str], raw: Any) -> str:
    """Which entry of the same dictionary may have been meant, where the user chooses the names (sets, definitions)."""
    if not path or _known_names(path[:-1]):
        return ""
    for part in path[:-1]:
        raw = raw.get(part) if isinstance(raw, dict) else None
    others = [str(key) for key in raw if str(key) != path[-1]] if isinstance(raw, dict) else []
    found = suggest(path[-1], others)
    return found if "did you mean" in found else ""


def _known_names(path: list[str]) -> list[str]:
    """Field names of the model that ``path`` leads to, through dictionaries and optional sections."""
    model: Any = Params
    for part in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            model = _value_model(model)
            continue
        model = _strip(model.model_fields[part].annotation) if part in model.model_fields else model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return sorted(model.model_fields)


def _strip(annotation: Any) -> Any:
    """The section in ``Section | None``."""
    options = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return options[0] if getattr(annotation, "__origin__", None) is None and len(options) == 1 else annotation


def _value_model(annotation: Any) -> Any:
    """The value type of ``dict[str, Section]``."""
    return _strip(getattr(annotation, "__args__", (None,))[-1])
