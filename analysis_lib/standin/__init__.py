"""The stand-in cohort: synthetic CT, masks and outcomes, written as a site's data would lie on disk; knows no study.

``make_cohort`` draws patients whose muscle, density and survival meet published numbers by construction, and writes
DICOM series, .seg.nrrd masks and the clinical table. The data show that an analysis finds what was put in, no more.

>>> patients = draw_patients(settings, definitions, seed=1)  # a table; make_cohort writes it with its images
>>> deaths = patients.groupby("set")["os_event"].sum()
>>> all(deaths[name] == part.deaths for name, part in settings.sets.items())
True
"""

from typing import TYPE_CHECKING

from analysis_lib.common.lazy import name_from

if TYPE_CHECKING:
    from analysis_lib.standin.anatomy import draw_patient
    from analysis_lib.standin.make import make_cohort
    from analysis_lib.standin.patients import StandinError, draw_patients, sarcopenia_status
    from analysis_lib.standin.settings import StandinParams
    from analysis_lib.standin.spec import PatientSpec

__all__ = [
    "PatientSpec",
    "StandinError",
    "StandinParams",
    "draw_patient",
    "draw_patients",
    "make_cohort",
    "sarcopenia_status",
]
_MODULES = {
    "PatientSpec": "spec",
    "StandinError": "patients",
    "StandinParams": "settings",
    "draw_patient": "anatomy",
    "draw_patients": "patients",
    "make_cohort": "make",
    "sarcopenia_status": "patients",
}


def __getattr__(name: str) -> object:
    return name_from(__name__, _MODULES, name)
