"""The one way to keep a result: under what is given, the code that computes it and the packages that this code uses.

The code is that of every module of this library which the function's module imports, directly or through others.
They are found by reading the import statements (``ast``), those inside of functions too, so nobody lists them by hand
and nothing heavy is loaded to know them. With a module come the packages above it, and so ``analysis_lib/__init__``,
which pins threads and processor kernels. Comments, docstrings and layout do not count. The packages are all others
that these modules import, with their versions. So a function whose results are kept lies best in a module that imports
no more than it needs.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import pickle
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from analysis_lib.common.files import replacing

R = TypeVar("R")
LIBRARY = Path(__file__).parents[1]
NAME = LIBRARY.name


# ---- code --------------------------------------------------------------------------------------------------


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
        imported = _read(path, path.stat().st_mtime_ns)[1]
        names = [module, *(name for name in imported if name.split(".")[0] == NAME)]
        parents = {".".join(name.split(".")[:k]) for name in names for k in range(1, name.count(".") + 2)}
        waiting += [name for name in parents if _file(name, library)]
    return dict(sorted(found.items()))


def packages_of(*modules: str, library: Path = LIBRARY) -> dict[str, str]:
    """Versions by name of the packages that ``modules_of`` these import, Python's own apart."""
    top = set()
    for path in modules_of(*modules, library=library).values():
        top |= {name.split(".")[0] for name in _read(path, path.stat().st_mtime_ns)[1]}
    top -= {NAME, *sys.stdlib_module_names}
    return dict(pair for name in sorted(top) for pair in _versions(name))


def code_of(*functions: Callable[..., Any], library: Path = LIBRARY) -> tuple[str, ...]:
    """What the results of ``functions`` depend on beside what they are given: 'module=hash', then 'package=version'."""
    modules = [inspect.unwrap(function).__module__ for function in functions]
    files = modules_of(*modules, library=library)
    hashes = [f"{name}={_read(path, path.stat().st_mtime_ns)[0]}" for name, path in files.items()]
    return (*hashes, *(f"{name}={number}" for name, number in packages_of(*modules, library=library).items()))


def code_key(*functions: Callable[..., Any], library: Path = LIBRARY) -> str:
    """``code_of`` as one short text."""
    return hashlib.blake2b("\n".join(code_of(*functions, library=library)).encode(), digest_size=16).hexdigest()


def _file(module: str, library: Path) -> Path | None:
    if module.split(".")[0] != NAME:  # a function of a test or a script
        return Path(path) if (path := getattr(sys.modules.get(module), "__file__", None)) else None
    place = library.joinpath(*module.split(".")[1:])
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


@functools.lru_cache(maxsize=1024)
def _read(path: Path, written: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a file's code, and what it imports; ``written`` is when, so that an edited file is read again."""
    tree = ast.parse(path.read_bytes())
    imported: list[str] = []
    for node in _run(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path.name}: write imports of the library in full, so that they can be followed")
            imported += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Pass()
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=8).hexdigest(), tuple(dict.fromkeys(imported))


def _run(tree: ast.AST) -> list[ast.AST]:
    """The nodes of a file that are run, and so not what is imported for annotations alone."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        found.append(node)
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            children = node.orelse
        waiting += children
    return found


@functools.cache
def _versions(package: str) -> tuple[tuple[str, str], ...]:
    try:
        return ((package, version(package)),)
    except PackageNotFoundError:  # sklearn is of scikit-learn
        names = _distributions().get(package, [])
        return tuple((name, version(name)) for name in sorted(set(names)))


_distributions = functools.cache(packages_distributions)


# ---- what is given -----------------------------------------------------------------------------------------


def hash_of(*values: Any) -> str:
    """One short text that differs where the values do, to the last bit; the same in every process and on every machine.

    Numbers, text, lists, dictionaries, arrays, frames, dataclasses and parameters; TypeError for anything else.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, values)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Each piece tells its kind and length first, so that no two values run together to the same bytes."""
    if value is None or isinstance(value, bool | int | float | str):
        _piece(digest, type(value).__name__, repr(value).encode())
    elif isinstance(value, bytes):
        _piece(digest, "bytes", value)
    elif isinstance(value, list | tuple):
        _piece(digest, "list", str(len(value)).encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, dict):
        _feed(digest, [list(value), list(value.values())])
    elif isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        if value.dtype.kind not in "biufUS":
            _feed(
                digest, ["objects", value.shape, [None if _missing(item) else item for item in value.ravel().tolist()]]
            )
        else:
            _piece(digest, f"{value.dtype.str}{value.shape}", np.ascontiguousarray(value).tobytes())
    elif isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, k] for k in range(value.shape[1])]
        _feed(digest, ["frame", value.columns, value.index, *(_values(column) for column in columns)])
    elif isinstance(value, pd.Series):
        _feed(digest, ["series", value.name, value.index, _values(value)])
    elif isinstance(value, pd.Index):
        _feed(digest, ["index", list(value.names), _values(value)])
    elif callable(dump := getattr(value, "model_dump_json", None)):  # parameters
        _piece(digest, type(value).__name__, dump().encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed(digest, [type(value).__name__, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}])
    else:
        raise TypeError(f"no result can be kept by a {type(value).__name__}; give what it holds")


def _piece(digest: Any, kind: str, content: bytes) -> None:
    digest.update(f"{kind} {len(content)} ".encode() + content)


def _values(column: pd.Series | pd.Index) -> np.ndarray:
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.to_numpy(dtype=object)


def _missing(item: Any) -> bool:
    return item is None or item is pd.NA or item != item


# ---- keeping -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Keeping(Generic[R]):
    """``function`` with its answers kept in a folder; picklable where the function is. See ``keeping``."""

    function: Callable[..., R]
    folder: Path
    code: str
    apart: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        path = self.path(*args, **kwargs)
        found, answer = self._kept(path)
        if not found:
            answer = self.function(*args, **kwargs)
            if answer is not None:
                content = pickle.dumps(answer, protocol=5)
                with replacing(path) as temporary:
                    temporary.write_bytes(self._head(content) + content)
        return answer

    def path(self, *args: Any, **kwargs: Any) -> Path:
        """Where the answer to these arguments is kept, or will be."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name not in self.apart}
        return self.folder / self.function.__name__.strip("_") / f"{hash_of(given)}.pickle"

    def _head(self, content: bytes) -> bytes:
        own = {"code": self.code, "hash": hashlib.blake2b(content, digest_size=16).hexdigest()}
        return json.dumps(own).encode() + b"\n"

    def _kept(self, path: Path) -> tuple[bool, Any]:
        """Whether there is an answer, whole and of this code, and the answer."""
        try:
            head, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return False, None
        return (True, pickle.loads(content)) if head + b"\n" == self._head(content) else (False, None)


def keeping(function: Callable[..., R], folder: Path | None, apart: tuple[str, ...] = ()) -> Callable[..., R]:
    """``function`` with its answers kept in ``folder``, one file for what it is given, of the code that it had then.

    What was kept by other code, or is damaged, is computed again and replaced; a file appears whole or not at all, so
    an interrupted run goes on where it stopped. ``apart`` names the arguments that an answer does not depend on
    (workers, quiet). None is no answer, and not kept. Without a folder nothing is kept.
    """
    if folder is None:
        return function
    return Keeping(function, Path(folder), code_key(function), apart)
