"""How far a long step is: a line that renews itself on a terminal, and a whole line now and then in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

LOG_EVERY_S = 30.0


class Progress:
    """Progress of ``total`` units on standard error: a bar on a terminal, else lines, one each ``LOG_EVERY_S``."""

    def __init__(self, total: int, label: str, unit: str, quiet: bool = False) -> None:
        self.total, self.label, self.n = total, label, 0
        self.silent = quiet or total == 0
        self.started = self.told = time.monotonic()
        self.bar: tqdm | None = None
        if sys.stderr.isatty() and not self.silent:
            self.bar = tqdm(total=total, desc=label, unit=unit, file=sys.stderr, mininterval=1, smoothing=0.05)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, note: str = "") -> None:
        """One unit more is done; ``note`` is told beside the number."""
        self.n += 1
        now = time.monotonic()
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update()
        elif not self.silent and (self.n == self.total or now - self.told >= LOG_EVERY_S):
            left = (now - self.started) / self.n * (self.total - self.n)
            when = f"{length(left)} left" if self.n < self.total else f"in {length(now - self.started)}"
            print(f"{self.label}: {self.n} of {self.total}, {when}{note and ', '}{note}", file=sys.stderr, flush=True)
            self.told = now


def length(seconds: float) -> str:
    """A length of time as one says it: 40 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    whole = round(seconds / 60)
    return f"{whole} min" if whole < 90 else f"{whole // 60} h {whole % 60} min"
