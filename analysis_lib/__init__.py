"""Library of the study: computes what the notebooks tell.

Threads and kernels are pinned here, before any numerical library is loaded, because sums that are split
over a machine-dependent number of threads differ in their last digits from machine to machine. The study
uses processes, one patient or one model each, instead.
"""

import os as _os

for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
):
    _os.environ[_name] = "1"
_os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
_os.environ["TF_DETERMINISTIC_OPS"] = "1"
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
