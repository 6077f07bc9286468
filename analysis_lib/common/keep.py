"""The one way to keep a result: under what is given, and the code and packages that compute it (``code``).

A function whose results are kept lies best in a module that imports no more than it needs, for any of that is its code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pandas as pd

from analysis_lib.common.code import code_key
from analysis_lib.common.files import remove_leftovers, replacing

R = TypeVar("R")


# ---- what is given -----------------------------------------------------------------------------------------


def hash_of(*values: Any) -> str:
    """One short text that differs where the values do, to the last bit; the same in every process and on every machine.

    Numbers, text, lists, dictionaries, arrays, frames, dataclasses, parameters, and paths, which stand for a file's
    name and content; TypeError for anything else.
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
    elif isinstance(value, Path):
        with value.open("rb") as content:  # in pieces: a volume need not be in memory
            whole = hashlib.file_digest(content, "blake2b").digest()
        _feed(digest, ["file", os.fsencode(value.name), whole])  # a name need not be UTF-8
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
        one_type = len(kinds := set(value.dtypes)) == 1 and isinstance(kinds.pop(), np.dtype)
        # the same pieces; to take a thousand features out of a frame one by one costs more than to hash them
        columns = value.to_numpy().T if one_type else [_values(value.iloc[:, k]) for k in range(value.shape[1])]
        _feed(digest, ["frame", value.columns, value.index, *columns])
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
        """The answer to these arguments, kept or computed."""
        path = self.path(*args, **kwargs)
        answer = self.known(path)
        if answer is None:
            answer = self.function(*args, **kwargs)
            self.keep(answer, path)
        return answer

    def keep(self, answer: R, path: Path) -> None:
        """Keep an answer that was had otherwise; ``path``: see there."""
        if answer is not None:
            content = pickle.dumps(answer, protocol=5)
            with replacing(path, sync=False) as temporary:
                temporary.write_bytes(self._head(content) + content)

    def path(self, *args: Any, **kwargs: Any) -> Path:
        """Where the answer to these arguments is kept, or will be."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name not in self.apart}
        return self.place / f"{hash_of(given)}.pickle"

    @property
    def place(self) -> Path:
        """Folder of the answers."""
        return self.folder / self.function.__name__.strip("_")

    def _head(self, content: bytes) -> bytes:
        own = {"code": self.code, "hash": hashlib.blake2b(content, digest_size=16).hexdigest()}
        return json.dumps(own).encode() + b"\n"

    def known(self, path: Path) -> R | None:
        """The answer that is kept there, whole and of this code; else None."""
        try:
            head, _, content = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        return pickle.loads(content) if head + b"\n" == self._head(content) else None


@overload
def keeping(function: Callable[..., R], folder: Path, apart: tuple[str, ...] = ()) -> Keeping[R]: ...
@overload
def keeping(function: Callable[..., R], folder: None, apart: tuple[str, ...] = ()) -> Callable[..., R]: ...
@overload
def keeping(function: Callable[..., R], folder: Path | None, apart: tuple[str, ...] = ()) -> Callable[..., R]: ...
def keeping(function: Callable[..., R], folder: Path | None, apart: tuple[str, ...] = ()) -> Callable[..., R]:
    """``function`` with its answers kept in ``folder``, one file for what it is given, of the code that it had then.

    What was kept by other code, or is damaged, is computed again and replaced; a file appears whole or not at all, so
    an interrupted run goes on where it stopped. ``apart`` names the arguments that an answer does not depend on
    (workers, quiet). None is no answer, and not kept. Without a folder nothing is kept.
    """
    if folder is None:
        return function
    kept = Keeping(function, Path(folder), code_key(function), apart)
    remove_leftovers(kept.place)
    return kept
