"""What all settings are made of: typed sections that refuse unknown names, and the common kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # the last four in full width


def _no_formula(text: str) -> str:
    if text.lstrip(" ").startswith(FORMULA):
        raise ValueError("must not begin with =, +, - or @, which a spreadsheet takes for a formula in the tables")
    return text


Label = Annotated[str, AfterValidator(_no_formula)]  # what comes into tables that others open in a spreadsheet
LARGEST = 1_000_000  # of any of these numbers; beyond, a digit slipped
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Width = Annotated[int, Field(gt=0, le=LARGEST)]
Months = Annotated[float, Field(gt=0, le=600)]  # 50 years, beyond which no time of the clinical table is


def _each_once(values: list) -> list:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"must hold months, each once, as [12, 36, 60], not {values}")
    return values


Once = AfterValidator(_each_once)


class Section(BaseModel):
    """Settings that belong together: an unknown name is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
