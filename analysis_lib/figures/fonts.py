"""Fonts in PDF files: what one figure uses of a font another used before, and to cut a font down takes longest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.backends import _backend_pdf_ps as embedding
from matplotlib.font_manager import FontPath

from analysis_lib.common.keep import keeping

_cut, _as_file = embedding.get_glyphs_subset, embedding.font_as_file


class Cut(NamedTuple):
    """A font of a few glyphs as matplotlib takes it, but the bytes of its file in place of the font."""

    font: bytes
    glyph_index_map: dict[int, int]


@contextmanager
def kept_fonts(folder: Path | None) -> Iterator[None]:
    """Let PDF files that are written in the block take the fonts that were cut down before, kept in ``folder``."""
    kept = keeping(cut_font, folder)

    @contextmanager
    def cut(fontfile: Any, glyphs: Any) -> Iterator[Any]:
        yield Cut(*kept(Path(fontfile), int(fontfile.face_index), sorted(map(int, glyphs)), version("fonttools")))

    embedding.get_glyphs_subset = cut
    embedding.font_as_file = lambda font: BytesIO(font) if isinstance(font, bytes) else _as_file(font)
    try:
        yield
    finally:
        embedding.get_glyphs_subset, embedding.font_as_file = _cut, _as_file


def cut_font(path: Path, face: int, glyphs: list[int], by: str) -> tuple[bytes, dict[int, int]]:
    """The file of the font with these glyphs alone, and the place of each in it; ``by``: version of what cuts it."""
    with _cut(FontPath(str(path), face), set(glyphs)) as found:
        return _as_file(found.font).getvalue(), {int(old): int(new) for old, new in found.glyph_index_map.items()}
