"""What is drawn for one synthetic patient: the link between the patients' table and their images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scanner:
    """A CT scanner as it shows in the image and in the DICOM header."""

    name: str
    manufacturer: str
    model: str
    kernel: str
    kernel_fwhm_mm: float  # width of the in-plane point spread; soft kernels are wide
    noise_hu: float  # SD of the noise in the body after the kernel
    kvp: int
    tube_current_ma: int
    slope: float = 1.0
    intercept: float = -1024.0


@dataclass(frozen=True)
class PatientSpec:
    """Everything the image of one patient is drawn from.

    Areas and densities are targets that the finished image meets as it will be measured: SM within its HU
    window, PM over its whole outline. ``infiltration_z`` is muscle quality, higher is worse: fatty streaks
    and uneven texture at the same mean density. It drives the hazard and no index sees it. ``grain_z`` and
    ``fascia_z`` are further textures that vary between patients and carry no risk.
    """

    patient_id: str
    set_name: str
    sex: str  # M or F
    height_m: float
    bmi: float
    age_years: float
    scanner: Scanner
    row_spacing_mm: float
    column_spacing_mm: float
    sm_area_cm2: float
    sm_mean_hu: float
    pm_area_cm2: float
    pm_mean_hu: float
    infiltration_z: float
    grain_z: float
    fascia_z: float
    seed: int  # of this patient's image alone, so that order and workers do not matter
