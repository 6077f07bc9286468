"""Settings of the reading of CT and masks (section ``images`` of a parameter file)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from analysis_lib.common.settings import Label, Section, Width


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
    min_mask_pixels: int = Field(
        50, ge=1, description="A segment with fewer pixels is taken for a slip of the mouse and excluded."
    )
