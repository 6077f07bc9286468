"""Parameter files as YAML in which nothing is dropped or turned in silence: no name twice, words stay words."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from analysis_lib.common.errors import ParameterError

# YAML 1.1, which PyYAML reads, takes yes and NO for truth values, 12:30 and 010 for other numbers, and dates for dates.
# The words of 1.2: a code of a table (clinical.codes) stays as it is written.
WORDS = {
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    "int": (re.compile(r"[-+]?(0|[1-9]\d*)"), "-+0123456789"),
    "float": (
        re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        "-+.0123456789",
    ),
}


class _Loader(yaml.CSafeLoader):
    """PyYAML's safe loader, by libyaml in a tenth of the time, with these words, and each name once in a section."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0].rpartition(":")[2] in ("null", "merge")]
        for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise ParameterError(f"'{name}' stands twice (lines {lines[name]} and {line}); make one of them")
            lines[name] = line
        return super().construct_mapping(node, deep)


for _name, (_pattern, _first) in WORDS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern.pattern})$"), list(_first))


def read_yaml(path: Path, shown: str) -> dict[str, Any]:
    """The ``name: value`` lines of a file, ``shown`` in messages; empty for an empty file.

    Raises ParameterError, in one line, for what is no YAML, holds no names, or has a name twice in a section.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader) or {}  # noqa: S506 a safe loader
    except ParameterError as error:
        raise ParameterError(f"{shown}: {error}") from None
    except RecursionError:
        raise ParameterError(f"{shown} is nested too deeply; mend it") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: neither UTF-8 nor a possible value
        raise ParameterError(f"{shown} is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{shown} must hold 'name: value' lines")
    return content
