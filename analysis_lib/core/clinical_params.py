"""Parameters of the clinical table (section ``clinical``): how a site's own table becomes the study's columns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from analysis_lib.common.settings import Section


class ClinicalUnits(Section):
    """Units of the table, where they are not the study's."""

    height: Literal["m", "cm"] = Field("m", description="Unit of height_m in the table.")
    time: Literal["months", "days", "weeks", "years"] = Field(
        "months", description="Unit of os_months and rfs_months in the table; a month is 30.4375 days."
    )
    tumour_size: Literal["cm", "mm"] = Field("cm", description="Unit of tumour_size_cm in the table.")
    area: Literal["cm2", "mm2", "m2"] = Field("cm2", description="Unit of sm_area_cm2 and pm_area_cm2 in the table.")
    index: Literal["cm2/m2", "mm2/m2"] = Field("cm2/m2", description="Unit of smi and pmi in the table.")


class ClinicalDates(Section):
    """Dates instead of months: columns surgery_date, death_date, recurrence_date and last_contact_date."""

    format: str = Field(
        "",
        description="How dates are written, for example '%d.%m.%Y'; needed for text, not for date cells of Excel or "
        "Parquet.",
    )
    rfs_sets: list[str] | None = Field(
        None, description="Sets in which recurrence was followed up; all if none is named, if recurrence_date exists."
    )


class ClinicalParams(Section):
    """The clinical table and how its columns, codes and units are read."""

    file: str = Field("patients.csv", description="File in the data folder: .csv, .tsv, .txt, .xlsx or .parquet.")
    sha256: str = Field(
        "", pattern="^([0-9a-f]{64})?$", description="SHA-256 of the file, for a public table; another file is refused."
    )
    reading: str = Field(
        "",
        description="CSV in the data folder with a reader's decisions, as make check saves it (patient_id, verdict, "
        "reason, reader); who is rejected there is excluded with reason and reader.",
    )
    sheet: str | None = Field(None, description="Sheet of an Excel file; needed where several hold something.")
    encoding: str = Field("utf-8", description="Encoding of a CSV file; older Excel writes cp1252.")
    separator: Literal["auto", ",", ";", "tab"] = Field("auto", description="What stands between the values of a CSV.")
    decimal: Literal["auto", ".", ","] = Field(
        "auto", description="Decimal sign; needed only for numbers such as 1,234 that can be read in two ways."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="The study's column name: the name in the table, where they differ."
    )
    codes: dict[str, dict[str, list[str]]] = Field(
        default_factory=dict,
        description="For a coded column, the study's code: the values in the table, as {sex: {M: [1], F: [2]}}.",
    )
    missing: list[str] | dict[str, list[str]] = Field(
        default_factory=list,
        description="Values that say 'not known', beside empty cells, NA and the like: [-9, 999] for every column, or "
        "{vascular_invasion: [9]} for one.",
    )
    units: ClinicalUnits = Field(default_factory=ClinicalUnits, description="Units of the table.")
    shifted: dict[int, int | None] = Field(
        default_factory=dict,
        description="Where the muscle indices of the table stand in other rows than their patients: from which row of "
        "the file on (the headings are row 1) they stand how many rows too low; null where they are lost. The run says "
        "what to write here, and moves nothing without it.",
    )
    dates: ClinicalDates = Field(default_factory=ClinicalDates, description="Dates instead of months.")
    tumour_threshold_cm: float = Field(
        5.0, gt=0, description="tumour_diameter_over_5cm is 1 where tumour_size_cm is above this (Liu 2024: 5 cm)."
    )

    @field_validator("missing", mode="before")
    @classmethod
    def _missing_as_text(cls, value: object) -> object:
        if isinstance(value, dict):
            return {str(name): cls._missing_as_text(codes) for name, codes in value.items()}
        return [str(entry) for entry in value] if isinstance(value, list) else value

    @field_validator("codes", mode="before")
    @classmethod
    def _codes_as_text(cls, value: object) -> object:
        """YAML reads 1, yes and true as numbers and truth values; a table holds text."""

        def text(code: object) -> str:
            return str(int(code)) if isinstance(code, bool) else str(code)

        if not isinstance(value, dict):
            return value
        return {
            str(column): {
                text(ours): [text(v) for v in (theirs if isinstance(theirs, list) else [theirs])]
                for ours, theirs in codes.items()
            }
            if isinstance(codes, dict)
            else codes
            for column, codes in value.items()
        }

    @model_validator(mode="after")
    def _unambiguous(self) -> ClinicalParams:
        theirs = [name.strip().casefold() for name in self.columns.values()]
        if doubled := sorted({name for name in theirs if theirs.count(name) > 1}):
            raise ValueError(f"columns names '{doubled[0]}' of the table twice; each may serve one column")
        for column, codes in self.codes.items():
            values = [v.strip().casefold() for listed in codes.values() for v in listed]
            if doubled := sorted({v for v in values if values.count(v) > 1}):
                raise ValueError(f"codes.{column} gives '{doubled[0]}' two meanings")
        if "/" in self.file or "\\" in self.file or self.file.startswith("."):
            raise ValueError("file is a name in the data folder, without a path")
        return self
