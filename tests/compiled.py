"""Compiles the library's numba kernels, as a process of its own: numba keeps the machine code beside each module.

Copies of the library take the compiled code along, so that no process of a test compiles for itself (16 s each).
"""

import numpy as np
import SimpleITK as sitk

from analysis_lib.core.parameters import PARAMS_DIR
from analysis_lib.radiomics.fast_radiomics import extract
from analysis_lib.survival import separation, survival

rng = np.random.default_rng(0)
image = sitk.GetImageFromArray(rng.normal(40, 30, (6, 24, 24)).astype(np.int16))
mask = np.zeros((6, 24, 24), np.uint8)
mask[3, 4:12, 5:20] = 1
for muscle in ("sm", "pm"):
    extract(image, sitk.GetImageFromArray(mask), PARAMS_DIR / f"features_{muscle}.yaml", label=1)
time, event, risk = rng.exponential(30, 60), rng.random(60) < 0.6, rng.normal(size=60)
survival.auc_curve(time, event, {"a": risk}, [12.0], 10, 0.95, 1)
survival.bootstrap_c_index(time, event, {"a": risk}, 10, 0.95, 1)
separation.separation(rng.normal(size=(60, 3)), event, folds=3, replicates=10, confidence=0.95, seed=1)
