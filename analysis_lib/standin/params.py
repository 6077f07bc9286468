"""Parameters of the stand-in cohort (section ``standin`` of a parameter file)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StandinParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
