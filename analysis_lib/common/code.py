"""What code computes a result: the modules that one uses, and the versions of their packages, by their imports alone.

Every module of this library counts that a module imports, directly or through others. They are found by reading the
import statements (``ast``), those inside of functions too, so nobody lists them by hand and nothing is loaded to know
them. With a module come the packages above it, and so ``analysis_lib/__init__``, which pins threads and processor
kernels. Comments, docstrings and layout do not count. The packages are all others that these modules import, with
their versions. ``keep`` uses this for what is kept in a cache, ``core.prepare`` for what make runs again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = Path(__file__).parents[1]
NAME = LIBRARY.name
# Packages that are imported by another name than they are installed by; any other is looked up, which takes longer.
INSTALLED_AS = {
    "PIL": "pillow",
    "jpeg_ls": "pyjpegls",
    "nrrd": "pynrrd",
    "pywt": "PyWavelets",
    "radiomics": "pyradiomics",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "sksurv": "scikit-survival",
    "yaml": "PyYAML",
}


def modules_of(*modules: str, library: Path = LIBRARY) -> dict[str, Path]:
    """Files by name of the modules given and of all modules of the library that they import, directly or not.

    library : folder of the package, for those who ask about another copy. ValueError for a module that is not there.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        path = _file(module, library)
        if path is None:
            raise ValueError(f"there is no module {module} whose code could be read")
        found[module] = path
        waiting += _used(module, path, path.stat().st_mtime_ns, library)
    return dict(sorted(found.items()))


def packages_of(*modules: str, library: Path = LIBRARY) -> dict[str, str]:
    """Versions by name of the packages that ``modules_of`` these import, Python's own apart."""
    top = set()
    for path in modules_of(*modules, library=library).values():
        top |= {name.split(".")[0] for name in _code(path).imports}
    top -= {NAME, *sys.stdlib_module_names}
    return dict(pair for name in sorted(top) for pair in _versions(name))


def code_of(*functions: Callable[..., Any], library: Path = LIBRARY) -> tuple[str, ...]:
    """What the results of ``functions`` depend on beside what they are given, see ``code_of_modules``."""
    return code_of_modules(*(inspect.unwrap(function).__module__ for function in functions), library=library)


def code_of_modules(*modules: str, library: Path = LIBRARY) -> tuple[str, ...]:
    """'module=hash' of each module that these use, themselves included, then 'package=version'."""
    files = modules_of(*modules, library=library)
    hashes = [f"{name}={_code(path).hash}" for name, path in files.items()]
    return (*hashes, *(f"{name}={number}" for name, number in packages_of(*modules, library=library).items()))


def modules_of_notebook(path: Path, library: Path = LIBRARY) -> list[str]:
    """The modules of the library whose names a notebook's cells import."""
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in "".join(cell["source"]).splitlines()]
    source = "\n".join(line for line in lines if not line.startswith(("%", "!")))
    found = []
    for name in _understood(ast.parse(source), path.name).imports:
        while name.split(".")[0] == NAME and not _file(name, library):
            found += _offered(name, library)
            name = name.rpartition(".")[0]
        found += [name, *_offered(name, library)] if name.split(".")[0] == NAME else []
    return sorted(set(found))


def code_key(*functions: Callable[..., Any], library: Path = LIBRARY) -> str:
    """``code_of`` as one short text."""
    return hashlib.blake2b("\n".join(code_of(*functions, library=library)).encode(), digest_size=16).hexdigest()


def _file(module: str, library: Path) -> Path | None:
    if module.split(".")[0] != NAME:  # a function of a test or a script
        return Path(path) if (path := getattr(sys.modules.get(module), "__file__", None)) else None
    place = library.joinpath(*module.split(".")[1:])
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


@functools.lru_cache(maxsize=1024)
def _used(module: str, path: Path, written: int, library: Path) -> list[str]:
    """Modules of the library that a module imports itself, and the packages above it and them."""
    imported = [name for name in _code(path).imports if name.split(".")[0] == NAME]
    names = [module, *imported, *(lazy for name in imported for lazy in _offered(name, library))]
    parents = {".".join(name.split(".")[:k]) for name in names for k in range(1, name.count(".") + 2)}
    return [name for name in parents if _file(name, library)]


def _offered(name: str, library: Path) -> list[str]:
    """Modules behind a name that a package's ``__init__`` loads when it is asked for (``lazy.name_from``).

    All of the package's where the package itself is imported, for nobody can tell what is asked of it.
    """
    if path := _file(name, library):
        later = _code(path).later.values() if path.name == "__init__.py" else ()
        return [f"{name}.{module}" for module in later]
    package, _, attribute = name.rpartition(".")
    path = _file(package, library)
    return [f"{package}.{module}"] if path and (module := _code(path).later.get(attribute)) else []


class _Code(NamedTuple):
    hash: str
    imports: tuple[str, ...]  # modules, and names in them
    later: dict[str, str]  # names that a package loads when they are asked for, and their modules in it


def _code(path: Path) -> _Code:
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _read(path: Path, written: int) -> _Code:
    """What a file's code is; ``written`` is when, so that an edited file is read again."""
    return _understood(ast.parse(path.read_bytes()), path.name)


def _understood(tree: ast.Module, name: str) -> _Code:
    imports: list[str] = []
    later: dict[str, str] = {}
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, run = waiting.pop()
        if isinstance(node, ast.Import) and run:
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and run:
            if node.level:
                raise ValueError(f"{name}: write imports of the library in full, so that they can be followed")
            imports += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES":
            later = ast.literal_eval(node.value)
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    node.body[0] = ast.Pass()
        for_annotations = node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else []
        for child in ast.iter_child_nodes(node):
            waiting.append((child, run and child not in for_annotations))
    return _Code(hashlib.blake2b(ast.dump(tree).encode(), digest_size=8).hexdigest(), tuple(imports), later)


@functools.cache
def _versions(package: str) -> tuple[tuple[str, str], ...]:
    try:
        return ((INSTALLED_AS.get(package, package), version(INSTALLED_AS.get(package, package))),)
    except PackageNotFoundError:
        return tuple((name, version(name)) for name in sorted(set(_distributions().get(package, []))))


_distributions = functools.cache(packages_distributions)
