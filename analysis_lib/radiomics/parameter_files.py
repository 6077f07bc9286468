"""PyRadiomics' parameter files are parameters too: checked before any image is read, with the right name suggested."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import radiomics
import yaml
from radiomics import getFeatureClasses, getImageTypes

from analysis_lib.common.errors import ParameterError, suggest
from analysis_lib.radiomics.features import feature_names
from analysis_lib.radiomics.plan import expected_names

# How PyRadiomics and its schema checker name what they do not know.
UNKNOWN = re.compile(r"(?:Key '|Class |Type |features: \{')([\w.-]+)")


def check_parameter_files(files: dict[str, Path], expected_count: int, usual: Sequence[str] = ()) -> None:
    """Refuse parameter files that are missing or misspelt, or that give another number of features.

    ``usual`` names features as ``feature_names`` takes them.

    Raises ParameterError naming file, cause and the nearest name that there is, and FeatureCountError.
    """
    for path in files.values():
        if not path.is_file():
            known = sorted(other.name for other in path.parent.glob("*.yaml"))
            raise ParameterError(f"features.rois: no parameter file params/{path.name}{suggest(path.name, known)}")
        logger = logging.getLogger("pykwalify")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # it prints what it raises
        try:
            expected_names(path)
        except Exception as error:  # whatever the schema checker raises
            text = " ".join(str(getattr(error, "msg", error)).split())[:300].rstrip(" .")
            unknown = UNKNOWN.findall(text)  # of a class and a feature in it, the feature
            remedy = suggest(unknown[-1], _known_names()) if unknown else "; mend it"
            raise ParameterError(f"params/{path.name} is not valid: {text}{remedy}") from None
        finally:
            logger.setLevel(level)
    feature_names(files, expected_count, usual)


def _known_names() -> list[str]:
    """Sections, settings, image types, classes and features of PyRadiomics."""
    schema = yaml.safe_load((Path(radiomics.__file__).parent / "schemas" / "paramSchema.yaml").read_text())["mapping"]
    classes = getFeatureClasses()
    features = [name for kind in classes.values() for name in kind.getFeatureNames()]
    return [*getImageTypes(), *classes, *features, *schema, *schema["setting"]["mapping"], "sigma", "wavelet"]
