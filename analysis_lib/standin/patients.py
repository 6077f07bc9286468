"""The synthetic patients' table: latent muscle, clinical covariates, image targets and outcomes.

Prevalences and numbers of events are met by construction: latent values are mapped onto areas and densities
so that the wanted number lies below each cut-off, and the baseline hazards are scaled to the wanted events.
The draw is conditioned: the bodies of a set are drawn once, and what happens to them again and again until the
published hazard ratios lie within its own intervals, their P values on the printed side of 0.05, and infiltration
discriminates as it does on average, not as a few deaths chance to have it (``conditions`` in the parameters; the
column ``attempt`` tells how many draws that took). A cohort so drawn shows that the analysis can find what was
put in; it is no evidence for the published figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from analysis_lib.common.errors import StudyError
from analysis_lib.common.sarcopenia import Definition, add_height_indices, cut_offs, sarcopenic
from analysis_lib.standin.settings import (
    FLAGS,
    AnatomyParams,
    ConditionParams,
    SexAnatomy,
    StandinParams,
    StandinSetParams,
)
from analysis_lib.standin.spec import PatientSpec, Scanner
from analysis_lib.survival.survival import c_index, cox_binary

Array = NDArray[np.float64]
TARGETS = ("sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu")
DRAWN = (*TARGETS, "smi", "pmi")  # the indices of a drawn patient
PRINTED_LEVEL = 0.05  # of the letter's P values, whose side is kept; no parameter, since they are printed
LATENTS = ("infiltration_z", "quantity_z", "density_z", "grain_z", "fascia_z")
CLINICAL = ("patient_id", "set", "sex", "age", "height_m", "bmi", "os_months", "os_event", "rfs_months",
            "rfs_event", *FLAGS)  # fmt: skip


class StandinError(StudyError, ValueError):
    """The parameters ask for patients that cannot exist; the message says which."""


def calibrated(standin: StandinParams, definitions: Mapping[str, Definition]) -> dict[str, Definition]:
    """The definitions whose numbers of sarcopenic patients the sets give; a further one has no say in the patients.

    Raises StandinError for a number of a definition that there is not, and for two of one index.
    """
    names = dict.fromkeys(name for part in standin.sets.values() for name in part.sarcopenic)
    if unknown := [name for name in names if name not in definitions]:
        raise StandinError(f"standin: sarcopenic.{unknown[0]} is no definition of params/defaults.yaml; remove it")
    chosen = {name: definitions[name] for name in names}
    columns = [d.column for d in chosen.values()]
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise StandinError(f"standin: sarcopenic has two definitions of {twice[0]}; patients can be drawn to one")
    return chosen


def draw_patients(standin: StandinParams, definitions: Mapping[str, Definition], seed: int) -> pd.DataFrame:
    """Draw the cohort.

    Parameters
    ----------
    standin : the section ``standin`` of the parameters.
    definitions : the five definitions of sarcopenia that the cohort is calibrated to.
    seed : the study's seed; each set has its own stream, so that one set can change without the others.

    Returns one row a patient: patient_id, set, sex (M, F), age (years), height_m, bmi (kg/m2), both known for
    every patient (``age_missing`` and ``bmi_missing`` mark whom patients.csv leaves empty), the tumour flags
    (1, 0, NaN), os_months, os_event, rfs_months, rfs_event (NaN in a set without RFS), the latents, the
    image targets, scanner, row_spacing_mm, column_spacing_mm, image_seed, true_log_risk (log hazard ratio of
    death) and attempt (draws of the set until the conditions held).

    Raises StandinError where no patients fit the parameters, or no draw meets the conditions.
    """
    frames = [_draw_set(name, standin, definitions, seed) for name in standin.sets]
    frame = pd.concat(frames, ignore_index=True)
    if frame["patient_id"].duplicated().any():
        raise StandinError("two sets have the same prefix; give each its own letter")
    return frame


def patient_specs(frame: pd.DataFrame, standin: StandinParams) -> list[PatientSpec]:
    """What the image of each patient is drawn from, in the order of ``frame``."""
    scanners = {name: Scanner(name=name, **s.model_dump()) for name, s in standin.scanners.items()}
    columns = [*TARGETS, "infiltration_z", "grain_z", "fascia_z", "row_spacing_mm", "column_spacing_mm"]
    return [
        PatientSpec(
            patient_id=row["patient_id"],
            set_name=row["set"],
            sex=row["sex"],
            height_m=float(row["height_m"]),
            bmi=float(row["bmi"]),
            age_years=float(row["age"]),
            scanner=scanners[row["scanner"]],
            seed=int(row["image_seed"]),
            **{name: float(row[name]) for name in columns},
        )
        for row in frame.to_dict("records")
    ]


def clinical_table(frame: pd.DataFrame) -> pd.DataFrame:
    """patients.csv: the columns a site would have, flags as nullable integers."""
    table = frame[list(CLINICAL)].copy()
    for name in ("age", "bmi"):
        table[name] = table[name].mask(frame[f"{name}_missing"])
    for name in (*FLAGS, "os_event", "rfs_event"):
        table[name] = table[name].astype("Int64")
    return table


def truth_table(frame: pd.DataFrame) -> pd.DataFrame:
    """truth.csv: true log risk, latents and image targets of each patient."""
    return frame[["patient_id", "true_log_risk", *LATENTS, *TARGETS]].copy()


def data_dictionary() -> pd.DataFrame:
    """Columns of patients.csv and truth.csv: frame of column, meaning, unit_or_codes."""
    sd = "SD, standard normal over the set"
    rows = [
        (
            "patient_id",
            "Identifier, also of CT folder and mask file; no patient stands behind it",
            "",
        ),
        ("set", "Set of patients", "discovery, external, lt"),
        ("sex", "Sex", "M male, F female"),
        ("age", "Age at surgery", "years"),
        ("height_m", "Height", "m"),
        ("bmi", "Body mass index", "kg/m2"),
        ("os_months", "Surgery to death or last contact", "months of 30.4375 days"),
        ("os_event", "Death from any cause", "0 no, 1 yes"),
        ("rfs_months", "Surgery to recurrence, death or last contact", "months of 30.4375 days"),
        ("rfs_event", "Recurrence or death", "0 no, 1 yes"),
        ("tumour_diameter_over_5cm", "Total tumour diameter above 5 cm", "0 no, 1 yes, empty unknown"),
        ("tumour_single", "Single tumour", "0 no, 1 yes, empty unknown"),
        ("vascular_invasion", "Vascular invasion", "0 no, 1 yes, empty unknown"),
        ("true_log_risk", "Truth: log hazard ratio of death", "natural logarithm"),
        ("infiltration_z", "Truth: fatty infiltration that texture shows; higher is worse", sd),
        ("quantity_z", "Truth: latent muscle quantity", sd),
        ("density_z", "Truth: latent muscle density", sd),
        ("grain_z", "Truth: grain of muscle texture, without risk", sd),
        ("fascia_z", "Truth: thickness of fascial planes, without risk", sd),
        ("sm_area_cm2", "Truth: area of skeletal muscle in the image", "cm2"),
        ("sm_mean_hu", "Truth: mean attenuation of skeletal muscle", "HU"),
        ("pm_area_cm2", "Truth: area of psoas muscle", "cm2"),
        ("pm_mean_hu", "Truth: mean attenuation of psoas muscle", "HU"),
    ]
    return pd.DataFrame(rows, columns=["column", "meaning", "unit_or_codes"])


def _draw_set(name: str, standin: StandinParams, definitions: Mapping[str, Definition], seed: int) -> pd.DataFrame:
    part, conditions, best = standin.sets[name], standin.conditions, None
    rng = np.random.default_rng([seed, _number(name), 0])
    frame = _draw_body(name, part, standin, rng)
    _place_targets(frame, part, standin, definitions, rng)
    for flag in FLAGS:
        frame[flag] = _draw_flag(getattr(part, flag), len(frame), rng)
    frame["image_seed"] = [_number(f"{seed} {patient}") for patient in frame["patient_id"]]
    status = sarcopenia_status(frame, definitions)
    for attempt in range(conditions.attempts):
        drawn = frame.assign(**_draw_outcomes(frame, part, standin, rng), attempt=attempt + 1)
        # A draw that misses as many as the closest so far is not looked at further.
        missed = list(islice(_missed_conditions(drawn, part, conditions, status), len(best) if best else None))
        if not missed:
            return _hide_flags(drawn.drop(columns="_severe"), part, rng)
        best = missed if best is None or len(missed) < len(best) else best
    raise StandinError(
        f"standin.sets.{name}: none of {conditions.attempts} draws meets every condition; the closest "
        f"misses {', '.join(best or [])}. Change standin.effects, raise conditions.level, or set "
        "conditions.hazard_ratios, conditions.significance or conditions.c_index to false"
    )


def _number(text: str) -> int:
    """A number of 32 bits that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def _hide_flags(frame: pd.DataFrame, part: StandinSetParams, rng: np.random.Generator) -> pd.DataFrame:
    """Empty what the site does not know; last, since it acted on the outcome all the same."""
    for flag in FLAGS:
        wanted = getattr(part, flag)
        values, unknown = frame[flag].copy(), frame[flag] == 0
        hidden = rng.permutation(np.flatnonzero(unknown))[: wanted.missing]
        values.iloc[hidden] = np.nan
        frame[flag] = values if wanted.count is not None else np.nan
    return frame


def _draw_body(name: str, part: StandinSetParams, standin: StandinParams, rng: np.random.Generator) -> pd.DataFrame:
    """Identifiers, sex, age, height, BMI, latents, scanner and pixel spacing."""
    n, anatomy = part.n, standin.anatomy
    frame = pd.DataFrame({"patient_id": [f"{part.prefix}{k:04d}" for k in range(1, n + 1)], "set": name})
    men = rng.permutation(n) < part.men
    frame["sex"] = np.where(men, "M", "F")
    height = np.empty(n)
    for sex, of_sex in ((anatomy.men, men), (anatomy.women, ~men)):
        drawn = rng.normal(sex.height_mean_m, sex.height_sd_m, of_sex.sum())
        height[of_sex] = np.clip(drawn, sex.height_low_m, sex.height_high_m)
    frame["height_m"] = height.round(2)
    independent = _standardise(rng.standard_normal((n, 8)).clip(-2.8, 2.8))
    quantity = independent[:, 0]
    density = _correlated(quantity, independent[:, 1], anatomy.quantity_density)
    frame["quantity_z"], frame["density_z"] = quantity, density
    frame["infiltration_z"] = _correlated(density, independent[:, 2], anatomy.infiltration_density)
    frame["grain_z"], frame["fascia_z"] = independent[:, 3], independent[:, 4]
    age = anatomy.age_quantity * quantity + anatomy.age_density * density + 0.9 * independent[:, 5]
    bmi = _correlated(quantity, independent[:, 6], anatomy.bmi_quantity)
    for column, wanted, values in (("age", part.age, age), ("bmi", part.bmi, bmi)):
        frame[f"{column}_missing"] = rng.permutation(n) < wanted.missing
        known = ~frame[f"{column}_missing"].to_numpy()
        values = _standardise(values).clip(-2.3, 2.3)  # surgical candidates are neither cachectic nor very obese
        values = (values - values[known].mean()) / values[known].std(ddof=1)
        frame[column] = (wanted.mean + wanted.sd * values).round(1)
    # The field of view follows the body, so the pixel does.
    low, high = anatomy.spacing_mm.low, anatomy.spacing_mm.high
    middle, reach = (low + high) / 2, (high - low) / 2
    rows = middle + reach * np.tanh(0.5 * frame["bmi"].pipe(_standardise).to_numpy() + 0.3 * independent[:, 7])
    unequal = rng.random(n) < anatomy.unequal_spacing
    columns = np.where(unequal, np.clip(rows * rng.choice([0.97, 0.98, 1.02, 1.03], n), low, high), rows)
    frame["row_spacing_mm"], frame["column_spacing_mm"] = rows.round(4), columns.round(4)
    # Shares are met to a patient: centres differ in scanners, not by the luck of the draw.
    edges = np.cumsum(list(part.scanners.values())) / sum(part.scanners.values())
    place = np.searchsorted(edges, (rng.permutation(n) + 0.5) / n)
    frame["scanner"] = np.array(list(part.scanners))[place.clip(0, len(edges) - 1)]
    return frame


def _standardise(values: Array) -> Array:
    return (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)


def _correlated(first: Array, second: Array, correlation: float) -> Array:
    return correlation * first + np.sqrt(1 - correlation**2) * second


def _draw_flag(wanted, n: int, rng: np.random.Generator) -> Array:
    """Exactly the wanted number of ones; a third of the patients where the paper has no number."""
    yes = wanted.count if wanted.count is not None else round(n / 3)
    return (rng.permutation(n) < yes).astype(float)


def _place_targets(
    frame: pd.DataFrame,
    part: StandinSetParams,
    standin: StandinParams,
    definitions: Mapping[str, Definition],
    rng: np.random.Generator,
) -> None:
    """Areas and densities of each patient, with the wanted number below every cut-off."""
    anatomy, men = standin.anatomy, (frame["sex"] == "M").to_numpy()
    cut = {d.column: cut_offs(frame, d).to_numpy() for d in definitions.values()}
    wanted = {d.column: part.sarcopenic[name] for name, d in definitions.items()}
    squared = frame["height_m"].to_numpy() ** 2
    quantity, load = frame["quantity_z"].to_numpy(), anatomy.quantity_loading
    pm_z, sm_z = (_correlated(quantity, rng.standard_normal(len(frame)).clip(-2.8, 2.8), load) for _ in "ps")
    pm_cuts = np.sort(np.stack([cut["pm_area_cm2"], cut["pmi"] * squared]), axis=0)
    by_area_first = cut["pm_area_cm2"] < cut["pmi"] * squared
    give_points = standin.conditions.prevalence_points
    below = psoas_counts(men, by_area_first, pm_cuts, wanted["pm_area_cm2"], wanted["pmi"], anatomy, give_points)
    sm_cut, gap, ratio = cut["smi"] * squared, anatomy.area_gap, anatomy.pm_to_sm
    pm, sm = np.empty(len(frame)), np.empty(len(frame))
    pm_low, pm_high = np.empty(len(frame)), np.empty(len(frame))
    for label, of_sex in (("men", men), ("women", ~men)):
        sex: SexAnatomy = getattr(anatomy, label)
        z, (lower, upper) = pm_z[of_sex], pm_cuts[:, of_sex]
        n_low, n_middle = below[label]
        ends = _between(z, n_low), _between(z, n_low + n_middle)
        pm[of_sex] = _place(z, ends, lower, upper, sex.pm_sd_cm2, anatomy.pm_area_cm2)
        pm_low[of_sex] = np.select(
            [z < ends[0], z < ends[1]], [anatomy.pm_area_cm2.low, lower * (1 + gap)], upper * (1 + gap)
        )
        pm_high[of_sex] = np.select(
            [z < ends[0], z < ends[1]], [lower * (1 - gap), upper * (1 - gap)], anatomy.pm_area_cm2.high
        )
        z, end = sm_z[of_sex], _between(sm_z[of_sex], _share(wanted["smi"], men, label))
        sm[of_sex] = _place(z, (end, end), sm_cut[of_sex], sm_cut[of_sex], sex.sm_sd_cm2, anatomy.sm_area_cm2)
    sarcopenic = sm < sm_cut
    sm_low = np.where(sarcopenic, anatomy.sm_area_cm2.low, sm_cut * (1 + gap))
    sm_high = np.where(sarcopenic, sm_cut * (1 - gap), anatomy.sm_area_cm2.high)
    # A psoas out of proportion is brought back on its own side of the cut-offs, then the rest of the muscle.
    sm = sm.clip(sm_low, sm_high)
    pm = pm.clip(sm * ratio.low, sm * ratio.high).clip(pm_low, pm_high)
    sm = sm.clip(pm / ratio.high, pm / ratio.low).clip(sm_low, sm_high)
    frame["pm_area_cm2"], frame["sm_area_cm2"] = pm.round(3), sm.round(2)

    density, gap = frame["density_z"].to_numpy(), anatomy.density_gap_hu
    attenuation = np.empty(len(frame))
    for label, of_sex in (("men", men), ("women", ~men)):
        z, at = density[of_sex], cut["sm_mean_hu"][of_sex]
        end = _between(z, _share(wanted["sm_mean_hu"], men, label))
        attenuation[of_sex] = _place(z, (end, end), at, at, part.attenuation_sd_hu, anatomy.sm_mean_hu)
    frame["sm_mean_hu"] = _off(attenuation, cut["sm_mean_hu"], gap).round(2)
    denser = part.psoas_denser_hu + anatomy.psoas_density_sd_hu * rng.standard_normal(len(frame)).clip(-2, 2)
    above = attenuation + denser - cut["pm_mean_hu"]
    k = wanted["pm_mean_hu"]
    # Shifted as a whole, and only as far as the number below the cut-off needs.
    shift = _between(above, k) if (above < 0).sum() != k else 0.0
    psoas = np.clip(above - shift + cut["pm_mean_hu"], anatomy.pm_mean_hu.low, anatomy.pm_mean_hu.high)
    frame["pm_mean_hu"] = _off(psoas, cut["pm_mean_hu"], gap).round(2)
    frame["_severe"] = stats.norm.cdf(cut["pm_mean_hu"] - frame["pm_mean_hu"])


def _off(values: Array, cut: Array, gap: float) -> Array:
    """Values kept ``gap`` away from the cut-off, each on its own side."""
    return np.where(values < cut, np.minimum(values, cut - gap), np.maximum(values, cut + gap))


def _between(z: Array, k: int) -> float:
    """A value with exactly ``k`` of ``z`` below it."""
    ordered = np.concatenate([[z.min() - 1 if len(z) else 0], np.sort(z), [z.max() + 1 if len(z) else 0]])
    return float((ordered[k] + ordered[k + 1]) / 2)


def _share(total: int, men: NDArray[np.bool_], label: str) -> int:
    """The sex's part of a number of patients, in proportion."""
    of_men = round(total * men.sum() / len(men))
    return of_men if label == "men" else total - of_men


def _place(z: Array, ends: tuple[float, float], lower: Array, upper: Array, sd: float, limits) -> Array:
    """Increasing map of latent ``z`` that puts ``ends`` on the cut-offs and runs out softly at the limits."""
    reach_low, reach_high = lower - limits.low, limits.high - upper
    fall = lower - reach_low * -np.expm1(-sd * (ends[0] - z).clip(0) / reach_low)
    rise = upper + reach_high * -np.expm1(-sd * (z - ends[1]).clip(0) / reach_high)
    width = max(ends[1] - ends[0], 1e-9)
    middle = lower + (upper - lower) * (z - ends[0]) / width
    return np.select([z < ends[0], z < ends[1]], [fall, middle], rise)


def psoas_counts(
    men: NDArray[np.bool_],
    by_area_first: NDArray[np.bool_],
    cuts: Array,
    n_area: int,
    n_index: int,
    anatomy: AnatomyParams,
    give_points: float,
) -> dict[str, tuple[int, int]]:
    """How many of each sex lie below both cut-offs of psoas size, and between the two.

    Psoas area and index are one measurement, so the two prevalences are tied through height. With the
    published cut-offs a man of ordinary height reaches that of area (15.61 cm2) before that of the index
    (6.36 x height^2), a woman that of the index (3.92 x height^2) before that of area (14.64 cm2). So every
    woman below the index is below the area: n_area >= n_index - (number of men). The LT set as printed (23
    men, 100 patients by index, 71 by area) breaks this, as 71 < 77. There the counts that come closest are
    taken, at most ``give_points`` percentage points off: 97 by index and 74 by area, that is every man by
    index alone, 74 women by both and 76 by neither, a gap no real cohort has.

    ``cuts`` is (2, n): the lower and the upper cut-off of area for each patient, cm2; ``by_area_first`` tells
    whose lower one is that of area. Of the counts that fit, those likeliest under the typical psoas of each
    sex are taken. Returns {"men": (below both, between), "women": (below both, between)}.
    """
    n_men, n_women = int(men.sum()), int((~men).sum())
    for of_sex, first, label in ((men, True, "man"), (~men, False, "woman")):
        if (by_area_first[of_sex] != first).any():
            raise StandinError(
                f"a {label} in the range of heights has the cut-offs of psoas area and index in the "
                "other order; narrow the heights in standin.anatomy"
            )
    low_men, low_women = np.mgrid[0 : n_men + 1, 0 : n_women + 1]
    allowed = int(np.floor(give_points / 100 * len(men)))
    give = [(a, i) for a in range(-allowed, allowed + 1) for i in range(-allowed, allowed + 1)]
    for more_area, more_index in sorted(give, key=lambda g: (max(map(abs, g)), sum(map(abs, g)))):
        middle_women = n_area + more_area - low_men - low_women
        middle_men = n_index + more_index - low_men - low_women
        fits = (middle_women >= 0) & (middle_men >= 0)
        fits &= (low_women + middle_women <= n_women) & (low_men + middle_men <= n_men)
        if fits.any():
            score = _log_likelihood(low_men, middle_men, cuts[:, men], anatomy.men)
            score = score + _log_likelihood(low_women, middle_women, cuts[:, ~men], anatomy.women)
            at = np.unravel_index(np.argmax(np.where(fits, score, -np.inf)), fits.shape)
            return {
                "men": (int(low_men[at]), int(middle_men[at])),
                "women": (int(low_women[at]), int(middle_women[at])),
            }
    raise StandinError(
        f"{n_men} men and {n_women} women cannot have {n_area} patients below the psoas area and {n_index} "
        f"below the psoas index, not within {give_points:g} points; change the set's sarcopenic or men"
    )


def _log_likelihood(low: Array, middle: Array, cuts: Array, sex: SexAnatomy) -> Array:
    """Multinomial log-likelihood of the counts if psoas area is normal with the sex's mean and SD."""
    n = cuts.shape[1]
    if n == 0:
        return np.zeros(low.shape)
    below = stats.norm.cdf((np.median(cuts, axis=1) - sex.pm_mean_cm2) / sex.pm_sd_cm2)
    chances = np.clip([below[0], below[1] - below[0], 1 - below[1]], 1e-9, 1)
    counts = np.clip([low, middle, n - low - middle], 0, n)
    return (counts * np.log(chances)[:, None, None] - special.gammaln(counts + 1)).sum(axis=0)


def _draw_outcomes(
    frame: pd.DataFrame, part: StandinSetParams, standin: StandinParams, rng: np.random.Generator
) -> dict[str, Array]:
    """Log risk, and months and events of OS and RFS with the wanted numbers of events."""
    effects, follow_up, n = standin.effects, standin.follow_up, len(frame)
    known = {column: frame[column].to_numpy(dtype=float) for column in ("_severe", "age", *FLAGS, *LATENTS[:3])}
    muscle = (
        effects.infiltration * part.infiltration_factor * known["infiltration_z"]
        - effects.quantity * known["quantity_z"]
        - effects.density * known["density_z"]
    )
    severe = part.severe_density * known["_severe"]
    tumour = (
        effects.tumour_diameter_over_5cm * known["tumour_diameter_over_5cm"]
        + effects.tumour_multiple * (1 - known["tumour_single"])
        + effects.vascular_invasion * known["vascular_invasion"]
    )
    age = effects.age_per_10_years * known["age"] / 10
    risk = muscle + severe + tumour + age
    recurrence = effects.recurrence_muscle * muscle + severe + effects.recurrence_clinical * tumour
    # One normal pair a patient: who relapses early for reasons that no covariate tells tends to die early.
    first, second = rng.standard_normal((2, n))
    second = _correlated(first, second, follow_up.recurrence_death)
    # Patients entered at an even rate until one day on which follow-up ended for all.
    end = rng.uniform(follow_up.shortest_months, follow_up.longest_months, n)
    death = _weibull(first, risk, follow_up.death_shape)
    death *= _scale_for(part.deaths, lambda scale: (scale * death <= end).sum())
    died, os_months = death <= end, np.minimum(death, end).clip(0.1)
    drawn = {
        "true_log_risk": (risk - risk.mean()).round(5),
        "os_event": died.astype(int),
        "os_months": os_months.round(2),
        "rfs_months": np.full(n, np.nan),
        "rfs_event": np.full(n, np.nan),
    }
    if part.rfs_events is not None:
        relapse = _weibull(second, recurrence, follow_up.recurrence_shape)
        relapse *= _scale_for(part.rfs_events, lambda scale: ((scale * relapse <= os_months) | died).sum())
        drawn["rfs_event"] = ((relapse <= os_months) | died).astype(float)
        drawn["rfs_months"] = np.minimum(relapse, os_months).clip(0.1).round(2)
    return drawn


def _weibull(normal: Array, log_risk: Array, shape: float) -> Array:
    """Times with proportional hazards, up to the scale, from standard normal values."""
    return (-stats.norm.logcdf(normal) * np.exp(-(log_risk - log_risk.mean()))) ** (1 / shape)


def _scale_for(events: int, count) -> float:
    """The time scale with which ``count(scale)``, which falls as times grow, is ``events``."""
    low, high = -15.0, 25.0
    for _ in range(200):
        middle = (low + high) / 2
        found = count(np.exp(middle))
        if found == events:
            return float(np.exp(middle))
        low, high = (middle, high) if found > events else (low, middle)
    raise StandinError(f"no follow-up gives {events} events; ask for fewer")


def sarcopenia_status(frame: pd.DataFrame, definitions: Mapping[str, Definition]) -> dict[str, NDArray[np.bool_]]:
    """Who is sarcopenic by each definition, of an index in ``DRAWN``, if the image meets its targets exactly."""
    table = add_height_indices(frame)
    return {name: sarcopenic(table, d).to_numpy(dtype=bool) for name, d in definitions.items()}


def _missed_conditions(
    frame: pd.DataFrame, part: StandinSetParams, conditions: ConditionParams, status: Mapping[str, NDArray[np.bool_]]
) -> Iterator[str]:
    """The conditions that a draw does not meet, by outcome and definition, cheapest first."""
    if conditions.c_index:
        wanted = part.infiltration_c_index
        found = c_index(frame["os_months"], frame["os_event"], frame["infiltration_z"])
        if not wanted.low <= found <= wanted.high:
            yield "C-index of infiltration"
    if not (conditions.hazard_ratios or conditions.significance):
        return
    for outcome, published in part.hazard_ratios.items():
        time, event = (frame[f"{outcome.lower()}_{what}"].to_numpy() for what in ("months", "event"))
        for definition, hazard_ratio in published.items():
            fit = cox_binary(time, event, status[definition], conditions.level)
            if conditions.hazard_ratios and not fit["low"] < hazard_ratio < fit["high"]:
                yield f"{outcome} {definition}"
            below = definition in part.significant.get(outcome, ())
            if conditions.significance and outcome in part.significant and (fit["p"] < PRINTED_LEVEL) != below:
                yield f"P of {outcome} {definition}"
