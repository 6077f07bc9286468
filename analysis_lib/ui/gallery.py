"""The pictures of the README: four patients with their masks, and small copies of the figures.

Only for a synthetic study: pictures of real patients do not belong in a repository.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from analysis_lib.common.files import replacing, write_text
from analysis_lib.core.parameters import ParameterError
from analysis_lib.core.project import Study
from analysis_lib.figures import style
from analysis_lib.figures.masks import masks_picture
from analysis_lib.review.expectation import digest
from analysis_lib.review.glance import FIELD_MM, four_patients
from analysis_lib.review.verify import verify

FIGURES = ("fig1", "fig2", "fig3", "fig4ab", "fig4cf", "fig5", "figS1", "figS2", "figS3", "comparison")
WIDTH_PIXELS = 900
RUN_LINE = "The pictures are those of the committed expectation"


def make_gallery(study: Study, folder: Path | None = None) -> list[Path]:
    """Write ``patients.png`` and one small PNG a figure to ``folder`` (docs/gallery); README.md says whose they are.

    Gallery and expectation show one and the same run: raises ParameterError where the run is not the committed
    expectation to the byte, and for a study of real patients.
    """
    if not study.params.synthetic:
        raise ParameterError(f"{study.name} holds real patients; a gallery is for a synthetic study")
    verdict = verify(study)
    if not verdict.same_bytes:
        raise ParameterError(
            f"{study.name}: the run is not the committed expectation ({verdict.head}); make expect STUDY={study.name}"
        )
    folder = folder or study.project.root / "docs" / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    picture = masks_picture(four_patients(study), field_mm=FIELD_MM)
    written = []
    for stale in folder.glob("*.png"):
        stale.unlink()
    with replacing(folder / "patients.png") as temporary:
        style.label_synthetic(picture, True)
        picture.savefig(temporary, format="png", dpi=160, metadata={"Software": None})
        written.append(folder / "patients.png")
    for name in FIGURES:
        with Image.open(study.figures / f"{name}.png") as image:
            small = image.convert("RGB").resize((WIDTH_PIXELS, round(image.height * WIDTH_PIXELS / image.width)))
        with replacing(folder / f"{name}.png") as temporary:
            small.save(temporary, format="PNG", optimize=True)
        written.append(folder / f"{name}.png")
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    write_text(page, text.partition(RUN_LINE)[0] + run_line(study.name, verdict.expectation or {}))
    return written


def run_line(study: str, expectation: dict) -> str:
    """The last line of the gallery's page: which committed expectation its pictures were made from."""
    count = len(expectation["hashes"])
    return f"{RUN_LINE} `tests/expected/{study}` ({count} tables and figures, digest `{digest(expectation)}`).\n"
