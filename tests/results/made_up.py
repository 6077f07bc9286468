"""A small made-up cohort whose answers are known, for the tests of the results."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import load_params

PARAMS = load_params("smoke")
STATISTICS = PARAMS.statistics.model_copy(
    update={"bootstrap_replicates": 100, "curve_replicates": 100, "imputations": 3}
)


def cohort(seed=1) -> pd.DataFrame:
    """Three sets; a score drives death; tumour size has gaps in the discovery set, invasion is unknown outside."""
    rng = np.random.default_rng(seed)
    sizes = {"discovery": 240, "external": 90, "lt": 80}
    n = sum(sizes.values())
    frame = pd.DataFrame(
        {"patient_id": [f"P{k:03d}" for k in range(n)], "set": np.repeat(list(sizes), list(sizes.values()))}
    )
    frame["split"] = frame["set"].mask(frame["set"] == "discovery", np.where(rng.random(n) < 0.7, "train", "internal"))
    frame["sex"] = rng.choice(["M", "F"], n)
    frame["age"], frame["bmi"] = rng.normal(56, 10, n).round(1), rng.normal(24, 3, n).round(1)
    for flag, share in (("tumour_diameter_over_5cm", 0.4), ("tumour_single", 0.8), ("vascular_invasion", 0.2)):
        frame[flag] = (rng.random(n) < share).astype(float)
    muscle = rng.normal(size=n)
    frame["smi"] = np.where(frame["sex"] == "M", 50, 40) + 6 * muscle
    frame["pmi"] = np.where(frame["sex"] == "M", 6.4, 4.2) + muscle
    frame["pm_area_cm2"], frame["pm_mean_hu"], frame["sm_mean_hu"] = 15 + 3 * muscle, 45 + 6 * muscle, 42 + 5 * muscle
    frame["risk"] = rng.normal(size=n)
    frame["spread"] = np.linspace(0.1, 0.5, n)
    log_hazard = 0.9 * frame["risk"] - 0.4 * muscle + 0.5 * frame["vascular_invasion"]
    death, end = rng.exponential(60 * np.exp(-log_hazard)), rng.uniform(20, 90, n)
    frame["os_months"], frame["os_event"] = np.minimum(death, end).round(2), (death <= end).astype(float)
    frame["time_months"], frame["event"] = frame["os_months"], frame["os_event"]
    relapse = rng.exponential(40, n)
    frame["rfs_months"] = np.minimum(frame["os_months"], relapse).round(2)
    frame["rfs_event"] = np.where(relapse < frame["os_months"], 1.0, frame["os_event"])
    frame.loc[frame["set"] == "external", ["rfs_months", "rfs_event", "vascular_invasion"]] = np.nan
    frame.loc[rng.choice(240, 30, replace=False), "tumour_diameter_over_5cm"] = np.nan
    return frame


PATIENTS = cohort()
