"""Write combat.csv: six features of 36 patients of three scanners, and the same by neuroCombat 0.2.12.

pip install neuroCombat==0.2.12, in an environment of its own; python tests/reference/make_combat_reference.py
"""

from pathlib import Path

import numpy as np
import pandas as pd
from neuroCombat import neuroCombat

rng = np.random.default_rng(20261127)
batch = np.repeat(["a", "b", "c"], [12, 9, 15])
x = rng.normal([5, 100, -3, 0.2, 1000, 50], [1, 20, 0.5, 0.05, 300, 4], (36, 6))
x[batch == "b"] = x[batch == "b"] * 1.2 + [1, 10, 0.3, 0.02, 100, 2]
x[batch == "c"] = x[batch == "c"] * 0.8 - [0.5, 5, 0.1, 0.01, 50, 1]
x = x.round(4)
out = neuroCombat(dat=pd.DataFrame(x.T), covars=pd.DataFrame({"batch": batch}), batch_col="batch")["data"].T
table = pd.DataFrame({"batch": batch}).join(pd.DataFrame(x).add_prefix("x")).join(pd.DataFrame(out).add_prefix("y"))
table.to_csv(Path(__file__).with_name("combat.csv"), index=False, float_format="%.10g", lineterminator="\n")
