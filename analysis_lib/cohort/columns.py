"""The columns of the clinical table: meaning, unit, and what a value may be.

``COLUMNS`` is the data dictionary; the pandera schema is generated from it, so the two cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from analysis_lib.common.sarcopenia import BY_HEIGHT

if TYPE_CHECKING:
    import pandera.pandas as pa

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Column:
    """One column of the clinical table: meaning, unit and the range outside which a value is a mistake.

    ``kind``: text (an identifier), number, flag (0 or 1), set, sex, rfs_cause, uid, path or date. ``above`` is a
    bound that itself is not allowed. ``kept`` columns go on to the study, the others are used up in reading.
    ``median``: where the middle value of any study lies; outside, the whole column is in another unit.
    """

    name: str
    meaning: str
    unit: str = ""
    required: bool = False
    low: float | None = None
    high: float | None = None
    kind: str = "number"
    codes: tuple[str, ...] = ()
    above: bool = False
    kept: bool = True
    median: tuple[float, float] | None = None


def _flag(name: str, meaning: str, required: bool = False) -> Column:
    return Column(name, meaning, "0 no, 1 yes", required, kind="flag", codes=("0", "1"))


def _months(name: str, meaning: str, required: bool = False) -> Column:
    return Column(name, meaning, "months of 30.4375 days", required, 0, 600, above=True, median=(1, 240))


def _index(name: str, meaning: str, unit: str, low: float, high: float, median: tuple[float, float]) -> Column:
    return Column(name, f"{meaning}, where measured already", unit, low=low, high=high, median=median)


def _date(name: str, meaning: str) -> Column:
    return Column(name, meaning, "date, instead of months", kind="date", kept=False)


COLUMNS = (
    Column("patient_id", "The study's own identifier, also the name of CT folder and mask", required=True, kind="text"),
    Column("set", "Set of patients, a name in the parameter file", required=True, kind="set"),
    Column("sex", "Sex", "M male, F female", True, kind="sex", codes=("M", "F")),
    Column("age", "Age at surgery", "years", False, 18, 110),
    Column("height_m", "Height; without it SMI and PMI are missing", "metres", low=1.2, high=2.3, median=(1.4, 2.0)),
    Column("bmi", "Body mass index", "kg/m2", False, 10, 70),
    Column("weight_kg", "Weight, for BMI where bmi is empty", "kg", low=25, high=250, kept=False, median=(40, 120)),
    _months("os_months", "Surgery to death or last contact", True),
    _flag("os_event", "Death from any cause", True),
    _months("rfs_months", "Surgery to recurrence, death or last contact"),
    _flag("rfs_event", "Recurrence or death"),
    Column(
        "rfs_cause",
        "What ended recurrence-free survival, for cumulative incidence",
        "recurrence, death",
        kind="rfs_cause",
        codes=("recurrence", "death"),
    ),
    _flag("tumour_diameter_over_5cm", "Total tumour diameter above clinical.tumour_threshold_cm, 5 cm"),
    Column(
        "tumour_size_cm",
        "Total tumour diameter; fills tumour_diameter_over_5cm",
        "cm",
        low=0,
        high=40,
        kept=False,
        median=(0.8, 20),
    ),
    _flag("tumour_single", "Single tumour"),
    _flag("vascular_invasion", "Vascular invasion"),
    Column("centre", "Code of the centre, for strata; a code, not a name", kind="text"),
    Column("series_uid", "SeriesInstanceUID of the CT, where the folder holds several", kind="uid"),
    Column("ct_path", "CT folder or file below the data folder, if not ct/<patient_id>", kind="path"),
    Column("mask_path", "Mask below the data folder, if not masks/<patient_id>", kind="path"),
    Column("l3_sop_instance_uid", "SOPInstanceUID of the L3 slice", kind="uid"),
    Column("l3_z_mm", "Position of the L3 slice in the patient's coordinates (LPS)", "mm", low=-5000, high=5000),
    _index("sm_area_cm2", "Area of skeletal muscle at L3", "cm2", 20, 600, (60, 300)),
    _index("sm_mean_hu", "Mean density of skeletal muscle", "HU", -50, 150, (0, 90)),
    _index("pm_area_cm2", "Area of both psoas muscles at L3", "cm2", 1, 150, (3, 50)),
    _index("pm_mean_hu", "Mean density of the psoas", "HU", -50, 150, (0, 90)),
    _index("smi", "Skeletal muscle index, area / height squared", "cm2/m2", 8, 200, (20, 100)),
    _index("pmi", "Psoas muscle index, area / height squared", "cm2/m2", 0.4, 60, (1, 20)),
    _date("surgery_date", "Surgery; with it, os_* and rfs_* are taken from the dates"),
    _date("death_date", "Death; empty for the living"),
    _date("recurrence_date", "First recurrence; empty without"),
    _date("last_contact_date", "Last contact"),
)
BY_NAME = {c.name: c for c in COLUMNS}
NUMERIC = [c.name for c in COLUMNS if c.kind == "number"]
KEPT = [c for c in COLUMNS if c.kept]
OPTIONAL = [c.name for c in KEPT if not c.required]
AREA_OF = {index: BY_HEIGHT[index] for index in ("smi", "pmi")}
MEASURED = ("sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu", *AREA_OF)  # what images give, or a table


def schema(set_names: list[str], further: Sequence[Column] = ()) -> pa.DataFrameSchema:
    """Pandera schema of one checked table (text columns as text, all others numeric); ``further``: beside COLUMNS."""
    import pandera.pandas as pa  # here, because every notebook loads this module and none reads a clinical table

    columns = {}
    for column in (*KEPT, *further):
        nullable = not column.required
        if column.kind in ("text", "set", "sex", "rfs_cause", "uid", "path"):
            checks = {
                "text": pa.Check.str_matches(f"^{SAFE_ID.pattern}$"),
                "set": pa.Check.isin(set_names),
                "uid": pa.Check.str_matches(f"^{UID.pattern}$"),
                "path": pa.Check.str_length(1, 1024),
            }
            check = checks.get(column.kind) or pa.Check.isin(column.codes)
            spec = pa.Column(object, check, nullable=nullable, unique=column.name == "patient_id")
        elif column.kind == "flag":
            spec = pa.Column(float, pa.Check.isin([0.0, 1.0]), nullable=nullable)
        else:
            inside = pa.Check.in_range(column.low, column.high, include_min=not column.above)
            spec = pa.Column(float, inside, nullable=nullable)
        columns[column.name] = spec
    return pa.DataFrameSchema(columns, strict=True)


def data_dictionary() -> pd.DataFrame:
    """The data dictionary as a frame (column, required, unit_or_codes, lowest, highest, median, meaning)."""
    return pd.DataFrame(
        {
            "column": c.name,
            "required": "yes" if c.required else "no",
            "unit_or_codes": c.unit,
            "lowest": c.low,
            "highest": c.high,
            "median": "" if c.median is None else f"{c.median[0]:g} to {c.median[1]:g}",
            "meaning": c.meaning,
        }
        for c in COLUMNS
    )
