"""Names of a package that are loaded when they are first asked for, so that importing it costs nothing."""

from __future__ import annotations

import sys
from importlib import import_module


def name_from(package: str, modules: dict[str, str], name: str) -> object:
    """The ``__getattr__`` of a package: ``name`` from the module that ``modules`` says, kept for the next time.

    Raises AttributeError for a name that ``modules`` does not have.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it offers {', '.join(modules)}")
    value = getattr(import_module(f"{package}.{modules[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
