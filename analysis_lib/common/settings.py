"""What all settings are made of: typed sections that refuse unknown names, and the common kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Width = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Settings that belong together: an unknown name is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
