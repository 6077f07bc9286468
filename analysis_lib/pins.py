"""The same last digits on every processor: threads and kernels, pinned before any numerical library loads.

A library that finds wider registers adds the same numbers in another order, and a sum that is split over threads
depends on how many there are. Both move the last digits, and early stopping and a median cut-off make a changed
finding of it. So every library is told here to use what each x86-64-v3 processor has (AVX2 and FMA: Intel since 2013,
AMD since 2017), on one thread. The study uses processes instead, one patient or one model each; they and the
notebooks, in JupyterLab too, inherit the pins. What no variable can pin stands elsewhere: ``coxnet.tf_setup`` (what
TensorFlow is told by calls) and ``coxnet.products`` (long products, which Eigen splits by the size of the processor's
cache).

Left to the machine, with the reason: glibc's ``exp``, ``log``, ``sin`` have one variant for all processors with FMA,
but another version of glibc may round otherwise; no other operating system or kind of processor is promised the same
bytes.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings

PINNED = {
    # One thread: a sum over several depends on how many there are.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN is slower at these sizes, and rounds by machine
    "TF_DETERMINISTIC_OPS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",  # a graphics card would give other bits
    "PYTHONHASHSEED": "0",  # holds for the processes started from here; of the command line itself see __main__
}
PINNED_X86 = {
    # The BLAS and LAPACK of NumPy and of SciPy: one set of kernels and block sizes.
    "OPENBLAS_CORETYPE": "Haswell",
    # NumPy's own loops and sorts: those compiled for every processor. The wider ones round exp and log otherwise, and
    # order ties otherwise in argsort.
    "NPY_ENABLE_CPU_FEATURES": "X86_V2",
    # What numba compiles on the spot, and which compiled code it keeps.
    "NUMBA_CPU_NAME": "x86-64-v3",
    "NUMBA_CPU_FEATURES": "",
    # oneDNN's sgemm, which multiplies for TensorFlow (the line on oneDNN above does not reach it) and compiles itself
    # for the processor: one set of kernels.
    "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "true",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ARROW_USER_SIMD_LEVEL": "AVX2",  # sums in Arrow's own kernels
}


def is_x86() -> bool:
    """Whether this is the kind of processor on which the bytes are promised."""
    return platform.machine().lower() in ("x86_64", "amd64")


def pin() -> dict[str, str]:
    """Set the pins in the environment and return them; warns where NumPy is there already and listened to none."""
    pins = PINNED | (PINNED_X86 if is_x86() else {})
    early = "numpy" in sys.modules and any(os.environ.get(name) != value for name, value in pins.items())
    os.environ.update(pins)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if early:
        warnings.warn(
            "NumPy was imported before analysis_lib, so it uses kernels of this processor and the last digits may "
            "differ from those of other machines; import analysis_lib first",
            RuntimeWarning,
            stacklevel=3,
        )
    return pins
