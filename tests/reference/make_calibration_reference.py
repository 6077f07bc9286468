"""Reference values of D-calibration and one-calibration by SurvivalEVAL 0.9.0, which is not locked: it needs PyTorch.

python make_calibration_reference.py, in this folder, where ``pip install SurvivalEVAL==0.9.0`` was run. Writes
calibration_values.csv.
"""

import pandas as pd
from SurvivalEVAL.evaluations.calibration.distributional import d_calibration
from SurvivalEVAL.evaluations.calibration.single_time import one_calibration

tables = pd.read_csv("survival_tables.csv").join(pd.read_csv("prediction_tables.csv")["probability"])
rows = []
for name, table in tables.groupby("table", sort=False):
    month, event, risk = (table[column].to_numpy() for column in ("month", "event", "probability"))
    # probability is that of an event by half of the longest follow-up, hazards are constant
    statistic, p, counts = d_calibration((1 - risk) ** (2 * month / month.max()), event)
    rows += [(name, "d_statistic", statistic), (name, "d_p", p)]
    rows += [(name, f"d_{k}", count) for k, count in enumerate(counts)]
    for share in (4, 2):
        probability = 1 - (1 - risk) ** (2 / share)
        p, statistic, *_ = one_calibration(probability, month, event, month.max() / share, num_bins=5)
        rows += [(name, f"one_statistic_{share}", statistic), (name, f"one_p_{share}", p)]
pd.DataFrame(rows, columns=["table", "quantity", "value"]).to_csv("calibration_values.csv", index=False)
