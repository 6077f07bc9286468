"""A figure's files, kept by what is drawn and the code that draws it: a what-if draws what it changes, and no more."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis_lib.common.code import code_key
from analysis_lib.common.keep import keeping
from analysis_lib.figures.style import save_figure
from analysis_lib.figures.vector import svg_text

FORMATS = ("png", "pdf", "csv")  # of the figure's folder; the SVG is for the report


def drawn(
    function: Callable[..., Figure],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    synthetic: bool,
    cache: Path | None,
) -> dict[str, bytes]:
    """PNG, PDF, CSV and SVG, by these suffixes, of the figure that ``function`` draws; see ``style.save_figure``.

    ``cache``: folder in which they are kept, with the fonts that they use; None keeps nothing.
    """
    kept = keeping(files_of, cache / "figures" if cache else None, apart=("function", "fonts"))
    named = f"{function.__module__}.{function.__qualname__}", code_key(function)
    data = data if isinstance(data, pd.DataFrame) else dict(data)
    return kept(*named, args, kwargs, data, synthetic, function, cache / "fonts" if cache else None)


def files_of(
    name: str,
    code: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    data: pd.DataFrame | dict[str, pd.DataFrame],
    synthetic: bool,
    function: Callable[..., Figure],
    fonts: Path | None,
) -> dict[str, bytes]:
    """As ``drawn``; ``name`` and ``code`` stand for the function where its files are kept."""
    figure = function(*args, **kwargs)
    with tempfile.TemporaryDirectory() as folder:
        path = save_figure(figure, Path(folder), "figure", data, synthetic, fonts)
        files = {suffix: path.with_suffix(f".{suffix}").read_bytes() for suffix in FORMATS}
    return files | {"svg": svg_text(figure).encode()}
