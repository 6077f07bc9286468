"""Parameters of the stand-in cohort (section ``standin`` of a parameter file).

The values and the reason for each stand in ``params/standin.yaml``; here are names, types and meaning.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from analysis_lib.common.settings import LARGEST, Fraction, Positive, Section, Width

Correlation = Annotated[float, Field(gt=-1, lt=1)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Ratio = Annotated[float, Field(ge=0.01, le=100)]  # of hazards; beyond, a digit slipped
Effect = Annotated[float, Field(ge=-10, le=10)]  # log hazard ratio
Outcome = Literal["OS", "RFS"]
Fault = Literal["wrong level", "slipped contour", "arms", "metal"]
FLAGS = ("tumour_diameter_over_5cm", "tumour_single", "vascular_invasion")  # yes or no of each patient


class ScannerParams(Section):
    """A CT scanner as it shows in the image and in the DICOM header."""

    manufacturer: str = Field(description="Manufacturer in the DICOM header.")
    model: str = Field(description="Model name in the DICOM header.")
    kernel: str = Field(description="Convolution kernel in the DICOM header.")
    kernel_fwhm_mm: Positive = Field(description="Width of the in-plane point spread, mm; soft is wide.")
    noise_hu: Positive = Field(description="SD of the noise in the middle of the body, HU.")
    kvp: Width = Field(description="Tube voltage, kV.")
    tube_current_ma: Width = Field(description="Tube current, mA.")
    slope: Positive = Field(1.0, description="Rescale slope in the DICOM header.")
    intercept: float = Field(-1024.0, ge=-LARGEST, le=LARGEST, description="Rescale intercept in the DICOM header, HU.")


class MeanSd(Section):
    """Mean and SD that the drawn patients have exactly, before rounding."""

    mean: float = Field(gt=0, lt=150, description="Mean.")
    sd: Positive = Field(description="Standard deviation (n - 1).")
    missing: Count = Field(0, description="Patients whose value is left empty in patients.csv.")


class FlagCount(Section):
    """A yes/no characteristic."""

    count: Count | None = Field(description="Patients with yes; null where the paper has no value for any.")
    missing: Count = Field(0, description="Patients whose value is left empty in patients.csv.")


class Range(Section):
    """Lowest and highest value drawn."""

    low: float = Field(ge=-LARGEST, description="Lowest.")
    high: float = Field(le=LARGEST, description="Highest.")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class StandinSetParams(Section):
    """One set of patients: its Table 1, Table 2, numbers of events and scanners."""

    prefix: str = Field(pattern="^[A-Z]$", description="Letter that its patient identifiers start with.")
    n: int = Field(ge=6, le=LARGEST, description="Patients.")
    men: Count = Field(description="Men; the others are women.")
    age: MeanSd = Field(description="Age, years.")
    bmi: MeanSd = Field(description="Body mass index, kg/m2.")
    tumour_diameter_over_5cm: FlagCount = Field(description="Total tumour diameter above 5 cm.")
    tumour_single: FlagCount = Field(description="Single tumour.")
    vascular_invasion: FlagCount = Field(description="Vascular invasion.")
    sarcopenic: dict[str, Count] = Field(description="Sarcopenic patients by definition.")
    deaths: int = Field(gt=0, description="Deaths, met exactly.")
    rfs_events: int | None = Field(None, description="Recurrences or deaths, met exactly; null without RFS.")
    hazard_ratios: dict[Outcome, dict[str, Ratio]] = Field(
        default_factory=dict,
        description="Published hazard ratios that must lie in the drawn interval.",
    )
    significant: dict[Outcome, list[str]] = Field(
        default_factory=dict,
        description="Definitions whose P must lie below 0.05 as in print; the others of that outcome above.",
    )
    attenuation_sd_hu: float = Field(gt=0, le=100, description="SD of the mean HU of skeletal muscle, within sex.")
    psoas_denser_hu: float = Field(
        ge=-100, le=100, description="Mean HU of psoas minus that of skeletal muscle, first guess."
    )
    infiltration_factor: float = Field(1.0, ge=0, le=10, description="Times the effect of infiltration.")
    severe_density: Effect = Field(0.0, description="Log hazard ratio added below the psoas density cut-off.")
    infiltration_c_index: Range = Field(description="Where the C-index of infiltration for OS must lie.")
    scanners: dict[str, Positive] = Field(description="Share of each scanner, by its name in `scanners`.")

    @model_validator(mode="after")
    def _counts_fit(self) -> StandinSetParams:
        for name in ("men", "deaths", "rfs_events"):
            if (getattr(self, name) or 0) > self.n:
                raise ValueError(f"{name} is more than the set's {self.n} patients")
        if self.rfs_events is not None and self.rfs_events < self.deaths:
            raise ValueError(f"rfs_events ({self.rfs_events}) must include all {self.deaths} deaths")
        for name in ("age", "bmi", *FLAGS):
            part = getattr(self, name)
            if (getattr(part, "count", 0) or 0) + part.missing > self.n:
                raise ValueError(f"{name}: count and missing together are more than {self.n} patients")
        if not 0 <= self.infiltration_c_index.low < self.infiltration_c_index.high <= 1:
            raise ValueError("infiltration_c_index must lie between 0 and 1")
        for outcome, ratios in self.hazard_ratios.items():
            if unknown := [name for name in ratios if name not in self.sarcopenic]:
                raise ValueError(f"hazard_ratios.{outcome}.{unknown[0]} is not among sarcopenic; mend the name")
        for outcome, names in self.significant.items():
            if unknown := [name for name in names if name not in self.hazard_ratios.get(outcome, {})]:
                raise ValueError(f"significant.{outcome}: {unknown[0]} is not among hazard_ratios.{outcome}")
        if self.rfs_events is None and self.hazard_ratios.get("RFS"):
            raise ValueError("hazard_ratios.RFS needs rfs_events")
        if over := [name for name, count in self.sarcopenic.items() if count > self.n]:
            raise ValueError(f"sarcopenic.{over[0]} is more than the set's {self.n} patients")
        return self


class SexAnatomy(Section):
    """Body size of one sex."""

    height_mean_m: Positive = Field(description="Mean height, m.")
    height_sd_m: Positive = Field(description="SD of height, m.")
    height_low_m: Positive = Field(description="Lowest height drawn, m.")
    height_high_m: Positive = Field(description="Highest height drawn, m.")
    pm_mean_cm2: Positive = Field(description="Typical psoas area, cm2; shares the counts out by sex.")
    pm_sd_cm2: Positive = Field(description="SD of psoas area away from the cut-offs, cm2.")
    sm_sd_cm2: Positive = Field(description="SD of skeletal muscle area, cm2.")


class AnatomyParams(Section):
    """How latent muscle quantity and density become areas and densities."""

    men: SexAnatomy = Field(description="Men.")
    women: SexAnatomy = Field(description="Women.")
    pm_area_cm2: Range = Field(description="Limits of psoas area.")
    sm_area_cm2: Range = Field(description="Limits of skeletal muscle area.")
    pm_to_sm: Range = Field(description="Limits of psoas area over skeletal muscle area.")
    pm_mean_hu: Range = Field(description="Limits of psoas density.")
    sm_mean_hu: Range = Field(description="Limits of muscle attenuation.")
    quantity_loading: Fraction = Field(description="Correlation of either area with latent quantity.")
    psoas_density_sd_hu: float = Field(gt=0, le=100, description="SD of psoas minus skeletal muscle density, HU.")
    area_gap: Fraction = Field(description="Areas keep this relative distance from every cut-off.")
    density_gap_hu: float = Field(gt=0, le=10, description="Densities keep this distance from every cut-off, HU.")
    quantity_density: Correlation = Field(description="Correlation of latent quantity and density.")
    infiltration_density: Correlation = Field(description="Correlation of infiltration and latent density.")
    age_quantity: Correlation = Field(description="Correlation of age and latent quantity.")
    age_density: Correlation = Field(description="Correlation of age and latent density.")
    bmi_quantity: Correlation = Field(description="Correlation of BMI and latent quantity.")
    spacing_mm: Range = Field(description="Limits of the pixel spacing, mm.")
    unequal_spacing: Fraction = Field(description="Share of patients with rows and columns apart.")


class EffectParams(Section):
    """Log hazard ratios of death; quantity and density protect, so their effect is subtracted."""

    infiltration: float = Field(ge=0, le=10, description="Per SD of infiltration.")
    quantity: float = Field(ge=0, le=10, description="Per SD less of latent quantity.")
    density: float = Field(ge=0, le=10, description="Per SD less of latent density.")
    age_per_10_years: Effect = Field(description="Per 10 years of age.")
    tumour_diameter_over_5cm: Effect = Field(description="Total tumour diameter above 5 cm.")
    tumour_multiple: Effect = Field(description="More than one tumour.")
    vascular_invasion: Effect = Field(description="Vascular invasion.")
    recurrence_muscle: float = Field(ge=0, le=10, description="Times the three muscle effects for recurrence.")
    recurrence_clinical: float = Field(ge=0, le=10, description="Times the tumour effects for recurrence.")


class FollowUpParams(Section):
    """Times of death, recurrence and last contact."""

    death_shape: Positive = Field(description="Weibull shape of the time to death.")
    recurrence_shape: Positive = Field(description="Weibull shape of the time to recurrence.")
    recurrence_death: Correlation = Field(description="Gaussian copula between both, given covariates.")
    shortest_months: Positive = Field(description="Shortest administrative follow-up, months.")
    longest_months: Positive = Field(description="Longest administrative follow-up, months.")


class ConditionParams(Section):
    """The draw is repeated with the next sub-seed until these conditions hold."""

    hazard_ratios: bool = Field(description="Whether published hazard ratios must lie in the drawn interval.")
    significance: bool = Field(description="Whether P must lie on the letter's side of 0.05.")
    c_index: bool = Field(description="Whether the C-index of infiltration must lie in the set's range.")
    level: Fraction = Field(description="Level of the drawn interval that must hold them.")
    attempts: Width = Field(description="Draws of a set before giving up with an error.")
    prevalence_points: float = Field(
        ge=0,
        le=100,
        description="Percentage points a prevalence may give way where not all can hold.",
    )


class StandinParams(Section):
    """The synthetic cohort: who, what the images show, and what happens to them."""

    sets: dict[str, StandinSetParams] = Field(description="Sets of patients by the value of the column set.")
    anatomy: AnatomyParams = Field(description="Muscle areas and densities.")
    effects: EffectParams = Field(description="What drives the hazard.")
    follow_up: FollowUpParams = Field(description="Times.")
    conditions: ConditionParams = Field(description="Conditions on the draw.")
    scanners: dict[str, ScannerParams] = Field(description="Scanners by name.")
    faults: dict[Fault, Count] = Field(
        default_factory=dict,
        description="Patients by a measurement that went wrong, to practise make check on; truth.csv says who.",
    )

    @model_validator(mode="after")
    def _scanners_known(self) -> StandinParams:
        for name, part in self.sets.items():
            if unknown := set(part.scanners) - set(self.scanners):
                raise ValueError(f"sets.{name}.scanners: {sorted(unknown)} not described under scanners")
        return self
