"""What a PDF of a figure holds: the sizes of its text, and whether any of it is an image of dots."""

import re
import zlib
from pathlib import Path


def sizes_and_images(path: Path) -> tuple[set[float], bool]:
    """Sizes of all text of a PDF, points at print size, and whether it holds an image (line art must not)."""
    data, sizes = path.read_bytes(), set()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue  # a font
        sizes |= {float(size) for size in re.findall(rb"/F\S+ ([\d.]+) Tf", content)}
    return sizes, b"/Subtype /Image" in data
