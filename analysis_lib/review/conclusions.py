"""What a conclusion is: ``tests/expected/conclusions.yaml``, in which each column of each table has its quantity."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from analysis_lib.common.errors import StudyError


class ConclusionError(StudyError):
    """A table or column without a rule; the message says which, and where to write one."""


@dataclass(frozen=True)
class Quantity:
    """What a number is: how far it may lie from the expected one, and the values that mean no effect."""

    name: str
    why: str
    how: Literal["number", "text", "words", "p"] = "number"
    relative: float = 0.0
    absolute: float = 0.0
    nulls: tuple[float, ...] = ()
    ratio: bool = False
    sign: bool = True


@dataclass(frozen=True)
class Rule:
    """A column's quantity; with ``low`` and ``high`` the columns of its interval."""

    quantity: Quantity
    column: str
    low: str = ""
    high: str = ""

    @property
    def columns(self) -> list[str]:
        """The column, and the ends of its interval."""
        return [c for c in (self.column, self.low, self.high) if c]


@dataclass(frozen=True)
class Spread:
    """Columns that are judged by their number, mean and SD over the rows of a group."""

    over: list[str]
    last: list[str]
    rules: list[Rule]


@dataclass(frozen=True)
class TableRules:
    """How the cells of one table are judged; ``by``: a column of words, and the rules of the rows that match."""

    rules: list[Rule]
    by: dict[str, dict[str, list[Rule]]] = field(default_factory=dict)
    inside: list[list[str]] = field(default_factory=list)
    spread: Spread | None = None
    not_compared: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The columns that name a row."""
        return [r.column for r in self.rules if r.quantity.how == "text"]

    @property
    def columns(self) -> set[str]:
        """Every column that has a rule, or a reason to have none."""
        rules = [*self.rules, *(r for cases in self.by.values() for part in cases.values() for r in part)]
        named = {c for r in rules for c in r.columns} | set(self.not_compared)
        if self.spread:
            named |= {*self.spread.over, *self.spread.last, *(r.column for r in self.spread.rules)}
        return named


@dataclass(frozen=True)
class Conclusions:
    """The file ``conclusions.yaml``; ``rounding`` is (relative, absolute)."""

    rounding: tuple[float, float]
    quantities: dict[str, Quantity]
    tables: dict[str, TableRules]

    def of(self, stem: str) -> TableRules:
        """The rules of ``<stem>.csv``; ConclusionError where there are none."""
        if stem not in self.tables:
            raise ConclusionError(
                f"{stem}.csv has no entry in tests/expected/conclusions.yaml; say there what its columns hold"
            )
        return self.tables[stem]


@cache
def read_conclusions(path: Path) -> Conclusions:
    """Read ``conclusions.yaml``; ConclusionError names a quantity that is not declared."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    quantities = {
        name: Quantity(name, **{**entry, "nulls": tuple(entry.get("nulls", ()))})
        for name, entry in content["quantities"].items()
    }
    tables = {}
    for names, entry in content["tables"].items():
        for name in names.split(", "):
            tables[name] = _table_rules(name, dict(entry), quantities)
    rounding = content["rounding"]
    return Conclusions((float(rounding["relative"]), float(rounding["absolute"])), quantities, tables)


def _table_rules(name: str, entry: dict, quantities: dict[str, Quantity]) -> TableRules:
    by = {
        column: {words: _rules(name, part, quantities) for words, part in cases.items()}
        for column, cases in entry.pop("by", {}).items()
    }
    inside, not_compared = entry.pop("inside", []), entry.pop("not compared", {})
    spread = entry.pop("spread", None)
    if spread:
        spread = dict(spread)
        over, last = spread.pop("over"), spread.pop("last", [])
        spread = Spread(over, last, _rules(name, spread, quantities))
    return TableRules(_rules(name, entry, quantities), by, inside, spread, not_compared)


def _rules(table: str, entry: dict, quantities: dict[str, Quantity]) -> list[Rule]:
    rules = []
    for name, columns in entry.items():
        if name not in quantities:
            raise ConclusionError(f"conclusions.yaml: {table} names the quantity '{name}', which is not declared above")
        rules += [Rule(quantities[name], *(c if isinstance(c, list) else [c])) for c in columns]
    return rules


__all__ = ["ConclusionError", "Conclusions", "Quantity", "Rule", "Spread", "TableRules", "read_conclusions"]
