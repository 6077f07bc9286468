"""Library of the study: computes what the notebooks tell.

Threads and kernels are pinned here, in one place and before any numerical library is loaded, because sums that
are split over a machine-dependent number of threads differ in their last digits from machine to machine. The
study uses processes, one patient or one model each, instead; they and the notebooks' kernels inherit the pins.
``modelling.tf_setup`` adds what TensorFlow must be told by calls. Each run writes the pins into run.json.
"""

import os as _os

PINNED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN is slower at these sizes, and rounds by machine
    "TF_DETERMINISTIC_OPS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",  # a graphics card would give other bits
    "PYTHONHASHSEED": "0",  # holds for the processes started from here, the kernels among them
}
_os.environ.update(PINNED)
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# What a reader calls first, loaded when it is asked for: importing the package costs nothing but the pins.
from analysis_lib.common.lazy import name_from as _name_from  # noqa: E402

__all__ = ["PINNED", "Project", "Study", "load_params", "open_study"]
_MODULES = {
    "Project": "core.project",
    "Study": "core.project",
    "load_params": "core.parameters",
    "open_study": "ui.notebook",
}


def __getattr__(name: str) -> object:
    return _name_from(__name__, _MODULES, name)
