"""Synthetic CT of the abdomen at L3, drawn from a patient's specification and meeting its targets exactly.

Lengths are in mm, in the frame of ``shapes``: the origin is the centre of the vertebral body, x grows to the
patient's left, y to the back. Proportions were read off axial CT at L3; none is a measurement to be cited.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analysis_lib.standin import organs, shapes
from analysis_lib.standin.outlines import Body, outline_body
from analysis_lib.standin.shapes import SIZE, Field, Grid
from analysis_lib.standin.spec import PatientSpec

_FAT_HU = -104.0
_LEAN_HU = 54.0
_SLACK_PX = 0.8  # how far a mask may stray from the drawn edge


@dataclass(frozen=True)
class DrawnPatient:
    """CT numbers int16 (n_slices, 512, 512), slices from feet to head, and the masks of the L3 slice."""

    hu: NDArray[np.int16]
    sm: NDArray[np.bool_]
    pm: NDArray[np.bool_]
    l3_index: int


@dataclass(frozen=True)
class _Solution:
    shift_pm_hu: float
    shift_rest_hu: float
    sm: NDArray[np.bool_]
    pm: NDArray[np.bool_]


def _parenchyma(spec: PatientSpec, rng: np.random.Generator, grid: Grid, cover: dict[str, Field], body: Body) -> Field:
    """CT numbers of muscle (512, 512): lean tissue, fatty streaks along the fibres, unevenness and grain.

    Infiltration deepens and coarsens the streaks; the mean is set later, so it carries no density.
    """
    z = float(np.clip(spec.infiltration_z, -3, 3)) + 0.15 * rng.standard_normal()
    depth_hu = 28.0 * np.exp(0.65 * z)
    across_mm = 0.85 * np.exp(0.14 * z)
    along_mm = 2.6 * across_mm
    streaks = shapes.texture_table(rng, along_mm, across_mm)
    uneven, patches = (shapes.texture_table(rng, *lengths) for lengths in ((6.0, 5.0), (4.5, 3.5)))
    fine = shapes.texture_table(rng, 0.7, 0.6)
    total = np.zeros((SIZE, SIZE), np.float32)
    for cov in cover.values():
        np.maximum(total, cov, out=total)
    rows, columns = np.nonzero(total > 0)
    x, y = grid.x_mm()[columns], grid.y_mm()[rows]
    kind = np.argmax(np.stack([cover[k][rows, columns] for k in cover]), axis=0)
    names = list(cover)
    u, v = np.empty_like(x), np.empty_like(x)
    weight = np.ones_like(x)
    # Sheets of fat run in the layers of the wall, slant outwards at the back, and cross the psoas.
    wall = kind == names.index("wall")
    theta = np.arctan2(y + 30, x)
    middle = body.midline - np.array([0.0, -30.0])
    order = np.argsort(np.arctan2(middle[:, 1], middle[:, 0]))
    radius = np.interp(
        theta, np.arctan2(middle[:, 1], middle[:, 0])[order], np.hypot(*middle.T)[order], period=2 * np.pi
    )
    u[wall] = (theta * 120)[wall]
    v[wall] = (np.hypot(x, y + 30) - radius)[wall]
    side = np.sign(x)
    back = kind == names.index("back")
    bend = 3.0 * np.sin(y / 14 + x / 23)
    u[back] = (0.90 * y + 0.44 * np.abs(x))[back]
    v[back] = (0.90 * np.abs(x) - 0.44 * y + bend + 70 * side)[back]
    deep = np.exp(-(((np.abs(x) - 14) / 14) ** 2))
    weight[back] = (0.9 + 0.7 * deep)[back]  # multifidus turns to fat first
    psoas = kind == names.index("psoas")
    u[psoas] = (0.5 * np.abs(x) - 0.87 * y)[psoas]
    v[psoas] = (0.87 * np.abs(x) + 0.5 * y + 90 * side)[psoas]
    weight[psoas] = 0.75
    patch = shapes.sample_table(uneven, x, y)
    streak = np.maximum(shapes.sample_table(streaks, u, v) + 0.5 * patch - 0.25, 0)
    value = _LEAN_HU - 110.0 * np.tanh(weight * depth_hu * streak / 110.0)  # never less dense than fat
    value += 3.5 * np.exp(0.55 * z) * shapes.sample_table(patches, x, y)
    value += 7.0 * np.exp(0.30 * np.clip(spec.grain_z, -3, 3)) * shapes.sample_table(fine, x, y)
    field = np.full((SIZE, SIZE), _LEAN_HU, np.float32)
    field[rows, columns] = np.maximum(value, _FAT_HU)
    return field


def _separable(image: Field, columns: Field, rows: Field) -> Field:
    """Resample at the given column and row positions (512,) each, linearly."""
    for axis, at in ((1, columns), (0, rows)):
        at = np.clip(at, 0, SIZE - 1.001)
        low = at.astype(np.intp)
        part = (at - low).astype(np.float32)
        part = part[None, :] if axis == 1 else part[:, None]
        first = np.take(image, low, axis=axis)
        image = first + part * (np.take(image, low + 1, axis=axis) - first)
    return image


def _meet_targets(
    spec: PatientSpec,
    image: Field,
    distance: tuple[Field, Field],
    weight: tuple[Field, Field],
    window_hu: tuple[float, float],
) -> tuple[_Solution | None, float]:
    """Shifts of psoas and other muscle, and the masks, at which the rounded image meets all four targets.

    None where the mask would leave the drawn edge by more than the slack; the second value says how much
    larger the muscles must then be drawn.
    """
    pixel_cm2 = spec.row_spacing_mm * spec.column_spacing_mm / 100
    n_pm, n_sm = round(spec.pm_area_cm2 / pixel_cm2), round(spec.sm_area_cm2 / pixel_cm2)
    d_pm, d_rest = (d.ravel() for d in distance)
    flat, w_pm, w_rest = image.ravel(), weight[0].ravel(), weight[1].ravel()
    near = np.flatnonzero(d_pm > -4)
    pm = near[np.argsort(-d_pm[near], kind="stable")[:n_pm]]
    taken = np.zeros(flat.size, bool)
    taken[pm] = True
    rest = np.flatnonzero((d_rest > -4) & ~taken)
    rest = rest[np.argsort(-d_rest[rest], kind="stable")]
    low, high = window_hu
    drawn = int(np.count_nonzero(d_rest[rest] > -_SLACK_PX))
    nominal = int(np.count_nonzero(d_rest[rest] > 0))
    shift_pm = shift_rest = 0.0
    for _ in range(40):
        pm_hu = np.rint(flat[pm] + shift_pm * w_pm[pm] + shift_rest * w_rest[pm])
        rest_hu = np.rint(flat[rest] + shift_pm * w_pm[rest] + shift_rest * w_rest[rest])
        pm_in = (pm_hu >= low) & (pm_hu <= high)
        count = np.cumsum((rest_hu >= low) & (rest_hu <= high))
        needed = n_sm - int(pm_in.sum())
        if needed < 1 or count[nominal - 1] < 1:
            break
        n_rest = min(int(np.searchsorted(count, needed)) + 1, drawn)
        chosen = rest_hu[:n_rest]
        inside = (chosen >= low) & (chosen <= high)
        found = pm_in.sum() + inside.sum()
        off_pm = spec.pm_mean_hu - float(pm_hu.mean())
        off_sm = spec.sm_mean_hu - float(pm_hu[pm_in].sum() + chosen[inside].sum()) / found
        if abs(off_pm) < 0.02 and abs(off_sm) < 0.02:
            fill = needed / float(count[nominal - 1])
            if found < n_sm or d_rest[rest[n_rest - 1]] > _SLACK_PX:
                return None, fill
            sm = taken.copy()
            sm[rest[:n_rest]] = True
            return _Solution(shift_pm, shift_rest, sm.reshape(image.shape), taken.reshape(image.shape)), fill
        shift_pm += off_pm / max(float(w_pm[pm].mean()), 0.3)
        shift_rest += off_sm * found / max(float(w_rest[rest[:n_rest]][inside].sum()), 1.0)
        if abs(shift_rest) > 150 or abs(shift_pm) > 150:
            break
    raise ValueError(
        f"{spec.patient_id}: no image has SM {spec.sm_area_cm2:.1f} cm2 at {spec.sm_mean_hu:.1f} HU with PM "
        f"{spec.pm_area_cm2:.1f} cm2 at {spec.pm_mean_hu:.1f} HU; bring the targets closer together"
    )


def draw_patient(spec: PatientSpec, n_slices: int = 7, sm_window: tuple[float, float] = (-29, 150)) -> DrawnPatient:
    """Draw the CT around L3 and the masks of one patient.

    The L3 slice (the middle one) meets the specification as it will be measured: PM by its whole mask, SM by
    the pixels of its mask within ``sm_window`` (HU, inclusive). Areas are exact to the pixel, mean densities
    to 0.02 HU. A function of ``spec`` alone. Raises ValueError, naming the patient, if the targets contradict
    one another.
    """
    rest_mm2 = 100 * (spec.sm_area_cm2 - spec.pm_area_cm2)
    for _ in range(5):
        drawn, fill = _attempt(spec, n_slices, sm_window, rest_mm2)
        if drawn is not None:
            return drawn
        rest_mm2 *= float(np.clip(fill, 0.8, 1.25))
    raise ValueError(f"{spec.patient_id}: too little of the muscle lies within {sm_window} HU to fill its area")


def _attempt(
    spec: PatientSpec, n_slices: int, sm_window: tuple[float, float], rest_mm2: float
) -> tuple[DrawnPatient | None, float]:
    """One drawing, muscles other than psoas filling ``rest_mm2``; None where the masks do not fit it."""
    rng = np.random.default_rng(spec.seed)
    body = outline_body(spec, rng, rest_mm2)
    dx, dy = spec.column_spacing_mm, spec.row_spacing_mm
    middle = 0.5 * (body.skin.max(axis=0) + body.skin.min(axis=0)) + rng.normal(0, 2.0, 2)
    grid = Grid(dx, dy, (SIZE - 1) / 2 - middle[0] / dx, (SIZE - 1) / 2 - (middle[1] + 4) / dy)

    bone_cover, paint_bone = organs.draw_spine(spec, rng, grid, body.bone_scale)
    cover = {name: np.zeros((SIZE, SIZE), np.float32) for name in ("psoas", "back", "wall")}
    group = {"psoas": "psoas", "erector": "back", "quadratus": "back", "rectus": "wall", "oblique": "wall"}
    for muscle in body.muscles:
        shapes.add_cover(cover[group[muscle.kind]], grid.cover(muscle.outline))
    free = 1 - bone_cover
    cover["psoas"] *= free
    cover["back"] *= np.minimum(free, 1 - cover["psoas"])
    cover["wall"] *= 1 - np.maximum(cover["psoas"], cover["back"])
    rest_cover = np.maximum(cover["back"], cover["wall"])

    planes = np.zeros((SIZE, SIZE), np.float32)
    width = 0.60 * np.exp(0.20 * np.clip(spec.fascia_z, -3, 3))
    for muscle in body.muscles:
        edge = [np.vstack([muscle.outline, muscle.outline[:1]])] if muscle.kind in ("erector",) else []
        for line in muscle.planes + edge:
            own = width * np.exp(0.2 * rng.standard_normal())
            own *= {"oblique": 0.9, "psoas": 0.5}.get(muscle.kind, 1.0)
            shapes.add_cover(planes, grid.stroke(line, own))
    meat = 1 - 0.75 * planes
    weight_pm, weight_rest = cover["psoas"] * meat, rest_cover * meat
    muscle_hu = _parenchyma(spec, rng, grid, cover, body)

    outside = organs.draw_coat(spec, rng, grid, body.skin, body.table_y)
    shapes.paint(outside, grid.stroke(body.midline, 1.6), 25.0)  # linea alba and the aponeuroses
    paint_bone(outside)
    all_muscle = weight_pm + weight_rest
    outside += all_muscle * (muscle_hu - outside)
    cavity = grid.full(body.cavity) * (1 - np.maximum(np.maximum(cover["psoas"], rest_cover), bone_cover))
    psoas_edge = max(np.abs(m.outline[:, 0]).max() for m in body.muscles if m.kind == "psoas")
    visceral = organs.draw_viscera(spec, rng, grid, body.cavity, body.bone_scale, psoas_edge)

    # The in-plane point spread of the kernel; the pixel's own aperture is in the coverages already.
    sigma = spec.scanner.kernel_fwhm_mm / 2.3548
    blur = lambda field: ndimage.gaussian_filter(field, (sigma / dy, sigma / dx), truncate=2.5)  # noqa: E731
    outside, visceral, cavity = blur(outside), blur(visceral), blur(cavity)
    weights = blur(weight_pm), blur(weight_rest)
    noise = shapes.noise_slices(rng, n_slices, (dy, dx), spec.scanner.kernel_fwhm_mm)
    amplitude = organs.noise_amplitude(grid, body.skin) * np.float32(spec.scanner.noise_hu)

    l3 = n_slices // 2
    plain = outside + cavity * (visceral - outside)
    hand = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE), dtype=np.float32), 4.0) * np.float32(2.5)
    distance = shapes.signed_distance_px(cover["psoas"]) + hand, shapes.signed_distance_px(rest_cover) + hand
    noisy = plain + amplitude * noise[l3]
    fit, fill = _meet_targets(spec, noisy, distance, weights, sm_window)
    if fit is None:
        return None, fill
    shift = np.float32(fit.shift_pm_hu) * weights[0] + np.float32(fit.shift_rest_hu) * weights[1]
    outside += shift

    reach = organs.field_of_view()
    hu = np.empty((n_slices, SIZE, SIZE), np.int16)
    lean = rng.normal(0, 0.25, 4)
    pixel = np.arange(SIZE, dtype=np.float32)
    for k in range(n_slices):
        z = k - l3
        if z == 0:
            picture = noisy + shift
        else:
            maps = []
            for growth, drift in ((0.004 + 0.003 * lean[0], lean[2]), (0.02 + 0.02 * lean[1], 2.2 + lean[3])):
                cx, cy = grid.origin_column, grid.origin_row
                wave = 0.8 * z * np.sin(pixel / 23 + 3 * drift) * (growth > 0.006)
                maps.append(
                    (
                        cx + (pixel - cx) * (1 - growth * z) + wave,
                        cy + (pixel - cy) * (1 - growth * z) + drift * z,
                    )
                )
            shell, space = _separable(outside, *maps[0]), _separable(cavity, *maps[0])
            picture = shell + space * (_separable(visceral, *maps[1]) - shell) + amplitude * noise[k]
        hu[k] = np.where(reach, np.clip(np.rint(picture), -1024, 3071), -1024)
    return DrawnPatient(hu, fit.sm, fit.pm, l3), fill
