"""What a model's features depend on, saved with the model and compared before it is applied to new patients."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import yaml

from analysis_lib.core.project import Study
from analysis_lib.ct.settings import HuWindow
from analysis_lib.radiomics import fast_radiomics

PACKAGES = ("pyradiomics", "SimpleITK", "PyWavelets")  # that compute the features


def training_settings(study: Study) -> dict[str, Any]:
    """Where a model comes from, and everything that must be the same for it to hold; plain JSON values.

    ``study``, ``seed`` and ``synthetic`` say on what it was trained, ``asks`` for what, ``harmonised``
    over which batches ComBat went, if it did. ``required`` has the contents
    of the feature parameter files (comments and order do not count), the HU windows of the masks and the versions that
    compute the features; of features from a table nothing is known but that.
    """
    params, files = study.params, study.parameter_files
    origin = {"study": params.study, "seed": params.seed, "synthetic": params.synthetic, "asks": params.asks}
    if params.features.harmonise.batch:
        origin["harmonised"] = params.features.harmonise.batch
    if params.features.table:
        return origin | {"required": FROM_TABLE}
    return origin | {
        "required": {
            "features": {roi: yaml.safe_load(path.read_text(encoding="utf-8-sig")) for roi, path in files.items()},
            "images": {
                muscle: {"hu_window": _window(getattr(params.images, muscle).hu_window)} for muscle in ("sm", "pm")
            },
            "versions": {name: version(name) for name in PACKAGES} | {"fast_radiomics": str(fast_radiomics.VERSION)},
        },
    }


def differences(trained: Any, here: Any, name: str = "") -> list[str]:
    """Each value that differs, as 'features.sm.setting.binWidth is 25 in the model and 10 here'."""
    if isinstance(trained, dict) and isinstance(here, dict):
        keys = [*trained, *(key for key in here if key not in trained)]
        parts = [differences(trained.get(k, _ABSENT), here.get(k, _ABSENT), f"{name}.{k}".lstrip(".")) for k in keys]
        return [text for part in parts for text in part]
    return [] if trained == here else [f"{name} is {_shown(trained)} in the model and {_shown(here)} here"]


_ABSENT = object()
FROM_TABLE = {"features": "taken from a table"}


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _window(window: HuWindow | None) -> dict[str, float] | None:
    return None if window is None else {"low": window.low, "high": window.high}
