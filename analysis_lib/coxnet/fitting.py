"""Seeds of parts of the work."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, *path: int) -> int:
    """A seed for one part of the work (a network, a replicate), unrelated to its neighbours."""
    return int(np.random.SeedSequence([int(seed), *path]).generate_state(1)[0])
