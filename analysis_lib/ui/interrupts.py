"""make that is interrupted alone, as by a batch system, waits until its commands end: so they look after it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

EVERY_S = 1.0
GENERATIONS = 3  # a recipe of two commands has a shell between make and this process


def stop_with_make() -> None:
    """Interrupt this process when the make that started it is interrupted or ended.

    Nothing without a make above, or where make ignores interrupts, as in the background of a script.
    """
    make = _make_above(os.getppid(), GENERATIONS)
    if make is not None:
        threading.Thread(target=_watch, args=(make,), daemon=True).start()


def _watch(make: int) -> None:
    while _catches_interrupt(make):
        time.sleep(EVERY_S)
    os.kill(os.getpid(), signal.SIGINT)


def _make_above(process: int, generations: int) -> int | None:
    if generations == 0 or process <= 1:
        return None
    status = _status(process)
    if status.get("Name") in ("make", "gmake"):
        return process if _catches_interrupt(process) else None
    return _make_above(int(status.get("PPid", 0)), generations - 1)


def _catches_interrupt(make: int) -> bool:
    """GNU make gives the signal back to the system as soon as it came, before it waits."""
    status = _status(make)
    if status.get("State", "Z").startswith("Z"):  # ended, and nobody asked yet how
        return False
    return bool(int(status.get("SigCgt", "0"), 16) & 1 << (signal.SIGINT - 1))


def _status(process: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
