"""Library of the study: computes what the notebooks tell.

Importing it pins threads and kernels (``pins``), so it comes before NumPy and everything that loads NumPy. What a
reader calls first is loaded when it is asked for: importing the package costs nothing but the pins.
"""

from analysis_lib.common.lazy import name_from as _name_from
from analysis_lib.pins import pin as _pin

PINNED = _pin()

__all__ = ["PINNED", "Project", "Study", "load_params", "open_study"]
_MODULES = {
    "Project": "core.project",
    "Study": "core.project",
    "load_params": "core.parameters",
    "open_study": "ui.notebook",
}


def __getattr__(name: str) -> object:
    return _name_from(__name__, _MODULES, name)
