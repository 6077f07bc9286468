"""Settings of the reading of CT and masks (section ``images`` of a parameter file)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from analysis_lib.common.settings import Fraction, Label, Positive, Section, Width

# What is known of a measurement beside it, a column each: cm2, shares from 0 to 1, mm, HU, and how many notes.
NUMBERS = (
    *("arms_area_cm2", "arms_share", "outside_area_cm2", "l3_offset_mm", "l3_beyond_mm", "fov_share"),
    *("fov_muscle_area_cm2", "sm_left_share", "pm_left_share", "aorta_hu", "kidney_hu", "lowest_hu", "n_hu_notes"),
)
PHASES = ("unenhanced", "arterial", "venous", "delayed", "enhanced", "unknown")  # enhanced: nobody knows which phase


class HuWindow(Section):
    """Pixels of the mask that count, in HU, both ends included."""

    low: float = Field(description="Lowest HU counted.")
    high: float = Field(description="Highest HU counted.")
    source: Label = Field("", description="Where the window comes from (DOI).")

    @model_validator(mode="after")
    def _ordered(self) -> HuWindow:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


class SegmentParams(Section):
    """How a muscle is found in the mask file and which of its pixels count."""

    names: list[str] = Field(
        min_length=1, description="Accepted segment names; case, blanks, hyphens and underscores do not count."
    )
    labels: list[Width] = Field(
        default_factory=list,
        description="Label numbers in a label map without a label table; several are taken together.",
    )
    parts: list[list[str]] = Field(
        default_factory=list, description="Lists of segments that make the muscle together, such as left and right."
    )
    hu_window: HuWindow | None = Field(
        None, description="Pixels outside are left out of area and density; none counts the whole mask."
    )


class BodyParams(Section):
    """How the body is found on a slice, and the vertebra's extent in its segment."""

    air_hu: float = Field(description="Highest HU of what is no tissue.")
    thin_mm: Positive = Field(description="Sheets thinner than this are no body, as the shell of the table.")
    necks_mm: list[Positive] = Field(
        description="A part of the body that a neck narrower than this joins to the trunk is a limb; several are tried."
    )
    edge_pixels: Positive = Field(description="What lies nearer to the end of the field of view touches it, pixels.")
    vertebra_share: Fraction = Field(
        description="Slices with at least this share of the pixels of the fullest are the vertebra's extent."
    )


class PhaseParams(Section):
    """Contrast phase by the median HU of aorta and kidneys, where the mask has them."""

    aorta_names: list[str] = Field(description="Segment names of the aorta.")
    kidney_names: list[str] = Field(description="Segment names of the kidneys; those that are there count.")
    enhanced_from_hu: float = Field(description="From here on blood has contrast medium.")
    arterial_from_hu: float = Field(description="From here on an aorta brighter than the kidneys is arterial.")


class FlagParams(Section):
    """A number of the measurement, and the values from which on it is flagged."""

    column: Label = Field(description="Number or phase that is judged, a column of measured.parquet.")
    low: float | None = Field(None, description="Flagged below this.")
    high: float | None = Field(None, description="Flagged above this.")
    among: list[str] = Field(default_factory=list, description="Flagged where the phase is none of these; empty none.")
    says: Label = Field(description="What a flag means, and what to do, for make check.")
    exclude: bool = Field(False, description="Leave out whoever is flagged; else they are only named.")
    source: Label = Field("", description="Where the limit comes from.")

    @model_validator(mode="after")
    def _known(self) -> FlagParams:
        if self.column not in (*NUMBERS, "phase"):
            raise ValueError(f"column must be phase or one of {', '.join(NUMBERS)}, not {self.column}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be above high ({self.high:g})")
        if wrong := [name for name in self.among if name not in PHASES]:
            raise ValueError(f"among names {wrong[0]}, which is none of {', '.join(PHASES)}")
        return self


class ImageParams(Section):
    """Reading CT and masks."""

    sm: SegmentParams = Field(description="Skeletal muscle.")
    pm: SegmentParams = Field(description="Psoas muscle.")
    label_table: str | None = Field(
        None,
        description="Table that names the labels of all label maps, below the data folder; without it, the table of "
        "the same name beside each mask.",
    )
    l3_slice: Literal["all", "middle", "vertebra", "z_mm", "sop_instance_uid"] = Field(
        "all",
        description="Which slices of the mask count: all that it occupies (mean area), their middle one, the middle of "
        "the vertebra's segment, or the one that column l3_z_mm or l3_sop_instance_uid of the clinical table names.",
    )
    vertebra_names: list[str] = Field(
        ["vertebrae_L3", "vertebra L3", "L3"], description="Segment names of the vertebra, for l3_slice: vertebra."
    )
    memory_gb: float = Field(
        4,
        gt=0,
        description="Memory that the images of one patient, or their features, may take in a worker, GB. Who needs "
        "more is excluded with the reason, so that one damaged file cannot end the run.",
    )
    nama: HuWindow | None = Field(None, description="Muscle of normal attenuation within SM, HU in whole numbers.")
    lama: HuWindow | None = Field(None, description="Muscle of low attenuation within SM, HU in whole numbers.")
    body: BodyParams | None = Field(None, description="How the body is found; without, nothing is judged by it.")
    phase: PhaseParams | None = Field(None, description="Contrast phase; without, by the DICOM header alone.")
    flags: dict[Label, FlagParams] = Field(
        default_factory=dict, description="Flags of a measurement by name; null takes one out."
    )
    min_mask_pixels: int = Field(
        50, ge=1, description="A segment with fewer pixels is taken for a slip of the mouse and excluded."
    )
