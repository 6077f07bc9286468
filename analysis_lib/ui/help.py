"""What ``python -m analysis_lib --help`` prints: the commands under headings, and the nearest to a misspelt one."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from analysis_lib.common.errors import suggest

HEADINGS = {
    "run a study (make study does all of it)": (
        *("check", "prepare", "cohort", "inputs", "measure", "assemble", "features", "exclusions", "stability"),
        *("optimism", "notebook", "record"),
    ),
    "look at it, and pass it on": ("report", "site", "verify", "compare", "package", "export-model"),
    "ask again": ("search", "multiverse"),
    "patients of your own": ("protocol", "indices", "fit", "fetch", "masks", "predict", "validate"),
    "maintain": ("fingerprint", "certificate", "expect", "code", "docs", "gallery"),
}


class GroupedParser(argparse.ArgumentParser):
    """A parser whose commands are listed under HEADINGS."""

    def format_help(self) -> str:
        """Usage, and a line for each command."""
        lines = [self.format_usage(), self.description or "", ""]
        texts = {action.dest: action.help or "" for action in self._choices()._choices_actions}
        for heading, names in HEADINGS.items():
            lines += [f"{heading}:", *(f"  {name:<13} {texts[name]}" for name in names), ""]
        return "\n".join([*lines, "COMMAND --help lists the options of one.", ""])

    def error(self, message: str) -> NoReturn:
        """As argparse, but of a misspelt command one line with the nearest."""
        if wrong := re.match("argument COMMAND: invalid choice: '(.*?)'", message):
            self.exit(2, f"error: no command '{wrong[1]}'{suggest(wrong[1], list(self._choices().choices))}\n")
        super().error(message)

    def _choices(self) -> argparse._SubParsersAction:
        return next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))
