"""Measurements that went wrong, in a few synthetic patients to practise on; off unless ``standin.faults`` asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis_lib.standin.anatomy import DrawnPatient
from analysis_lib.standin.settings import Fault
from analysis_lib.standin.spec import PatientSpec

LUNG_HU, ARM_HU, BONE_HU, METAL_HU = -830.0, 45.0, 500.0, 3000.0
SHIFT_MM = (9.0, 14.0)  # of a slipped contour, to the back and to the left
ARM_MM, HUMERUS_MM = 34.0, 9.0  # radii
ROD_MM, STREAK_HU, STREAK_MM = 5.0, 300.0, 60.0  # radius; height and reach of the streaks


def chosen_faults(patient_ids: list[str], faults: Mapping[Fault, int], seed: int) -> dict[str, str]:
    """Which patient has which fault, drawn apart from everything else of the cohort; at most one each."""
    order = np.random.default_rng([seed, 20]).permutation(patient_ids)
    names = [name for name, count in faults.items() for _ in range(count)]
    return dict(zip(order.tolist(), names, strict=False))


def spoilt(drawn: DrawnPatient, fault: str, spec: PatientSpec) -> DrawnPatient:
    """The patient's CT and masks with the fault; the same each time."""
    spacing = (spec.row_spacing_mm, spec.column_spacing_mm)
    return FAULTS[fault](drawn, spacing, np.random.default_rng([spec.seed, 21]))


def _wrong_level(drawn: DrawnPatient, spacing: tuple[float, float], rng: np.random.Generator) -> DrawnPatient:
    """The outlines lie on the uppermost slice, which has the bases of the lungs."""
    top = len(drawn.hu) - 1
    rows, columns = _from_middle(drawn, spacing)
    lungs = ((np.abs(columns) - 62) / 42) ** 2 + ((rows + 30) / 48) ** 2 < 1
    return _painted(replace(drawn, l3_index=top), [top], lungs & ~drawn.sm & (drawn.hu[top] > -150), LUNG_HU, rng)


def _slipped(drawn: DrawnPatient, spacing: tuple[float, float], _: np.random.Generator) -> DrawnPatient:
    """The outlines are beside the muscles, as after a matrix of another series."""
    steps = [round(shift / step) for shift, step in zip(SHIFT_MM, spacing, strict=True)]
    return replace(drawn, sm=np.roll(drawn.sm, steps, (0, 1)), pm=np.roll(drawn.pm, steps, (0, 1)))


def _arms(drawn: DrawnPatient, spacing: tuple[float, float], rng: np.random.Generator) -> DrawnPatient:
    """The arms lie beside the trunk, and SM has taken them for muscle."""
    rows, columns = _from_middle(drawn, spacing)
    trunk = columns[(drawn.hu[drawn.l3_index] > -200) & (np.abs(rows) < 10)]  # at the flanks, above the table
    every = list(range(len(drawn.hu)))
    for side, edge in ((-1, trunk.min()), (1, trunk.max())):
        distance = np.hypot(columns - edge - side * (ARM_MM - 4), rows)
        drawn = _painted(drawn, every, distance < ARM_MM, ARM_HU, rng)
        drawn = _painted(drawn, every, distance < HUMERUS_MM, BONE_HU, rng)
        drawn = replace(drawn, sm=drawn.sm | ((distance < ARM_MM) & (distance >= HUMERUS_MM)))
    return drawn


def _metal(drawn: DrawnPatient, spacing: tuple[float, float], _: np.random.Generator) -> DrawnPatient:
    """A rod on each side of the spine, with streaks bright and dark."""
    rows, columns = _from_middle(drawn, spacing)
    hu = drawn.hu.astype(float)
    for side in (-1, 1):
        x, y = columns - side * 22, rows - 28
        distance, angle = np.hypot(x, y), np.arctan2(y, x)
        hu += STREAK_HU * np.sin(9 * angle) * np.exp(-distance / STREAK_MM) * (distance > ROD_MM)
        hu[:, distance <= ROD_MM] = METAL_HU
    return replace(drawn, hu=np.clip(hu, -1024, 3071).astype(np.int16))


FAULTS = {"wrong level": _wrong_level, "slipped contour": _slipped, "arms": _arms, "metal": _metal}


def _from_middle(drawn: DrawnPatient, spacing: tuple[float, float]) -> tuple[NDArray, NDArray]:
    """Distance of each pixel of a slice from the middle of the muscles, mm, to the back and to the left."""
    rows, columns = np.indices(drawn.sm.shape, dtype=float)
    middle = [float(np.mean(np.flatnonzero(drawn.sm.any(axis=1 - axis))[[0, -1]])) for axis in (0, 1)]
    return np.asarray((rows - middle[0]) * spacing[0]), np.asarray((columns - middle[1]) * spacing[1])


def _painted(
    drawn: DrawnPatient, slices: list[int], where: NDArray, value_hu: float, rng: np.random.Generator
) -> DrawnPatient:
    hu = drawn.hu.copy()
    for k in slices:
        hu[k][where] = np.round(value_hu + rng.normal(0, 12, int(where.sum()))).astype(np.int16)
    return replace(drawn, hu=hu)
