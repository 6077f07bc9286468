"""Parameters of patients from a public archive (sections ``fetch`` and ``masks``)."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from analysis_lib.common.settings import Section


class FetchParams(Section):
    """Which CT of a public collection ``make fetch`` takes: of the Imaging Data Commons, or of a record of Zenodo."""

    collection: str = Field("", description="Collection of the Imaging Data Commons, as hcc_tace_seg.")
    modality: str = Field("CT", description="Modality of the series.")
    study: Literal["first", "last"] = Field("first", description="Of a patient's studies, the earliest or the latest.")
    series: list[str] = Field(
        default_factory=list,
        description="Words of which the description of a series must have one, case aside, the preferred ones first; "
        "any description without. Of several series the one with the most images is taken.",
    )
    clinical_table: str = Field(
        "", description="Clinical table of the collection at the Imaging Data Commons, kept as clinical.file."
    )
    zenodo: str = Field(
        "", pattern=r"^(https?://\S+/records/\d+)?$", description="Record of Zenodo, as https://zenodo.org/records/1."
    )
    archives: str = Field("*.zip", description="Archives of the record that hold CT; * stands for anything.")
    ct_name: str = Field(
        r"(?P<patient>.+)\.nii\.gz",
        description="Regular expression of the name of a CT in them, with a group 'patient', its patient_id.",
    )
    patients: list[str] = Field(default_factory=list, description="Only these patients, to try with a few; else all.")

    @model_validator(mode="after")
    def _one_source(self) -> FetchParams:
        if bool(self.collection) == bool(self.zenodo):
            raise ValueError("name either collection (Imaging Data Commons) or zenodo, the record's address")
        try:
            named = "patient" in re.compile(self.ct_name).groupindex
        except re.error as error:
            raise ValueError(f"ct_name is no regular expression: {error}") from None
        if not named:
            raise ValueError("ct_name needs a group (?P<patient>...), which is the patient_id")
        return self


class MaskParams(Section):
    """What ``make masks`` asks TotalSegmentator for."""

    tasks: dict[str, list[str]] = Field(
        default_factory=lambda: {
            "total": ["vertebrae_L3", "iliopsoas_left", "iliopsoas_right"],
            "tissue_types": ["skeletal_muscle"],
        },
        description="Task: the classes that are kept of it, one file each. tissue_types needs its authors' licence.",
    )

    @model_validator(mode="after")
    def _each_class_once(self) -> MaskParams:
        classes = [name for names in self.tasks.values() for name in names]
        if not classes or not all(self.tasks.values()):
            raise ValueError("tasks: each task needs at least one class")
        if doubled := sorted({name for name in classes if classes.count(name) > 1}):
            raise ValueError(f"tasks: {doubled[0]} would come from two tasks; keep one")
        if wrong := [name for name in (*self.tasks, *classes) if not re.fullmatch(r"\w+", name)]:
            raise ValueError(f"tasks: '{wrong[0]}' is no name of a task or class")
        return self
