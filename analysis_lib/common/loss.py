"""Who is left out beside who stays: exclusion that falls on one outcome makes survival of the rest another one."""

from __future__ import annotations

import pandas as pd

DOUBTFUL_P = 0.01  # of a test whether exclusion depends on outcome
FEWEST_EXCLUDED = 3


def loss_by_outcome(
    excluded: pd.Series, died: pd.Series, months: pd.Series, reasons: pd.Series
) -> tuple[str, list[str]]:
    """Whether exclusion falls on those who died, who live, or whose time is long: why the run must stop, and doubts.

    All by patient: ``excluded`` bool; ``died`` 0, 1 or NaN; ``months`` or NaN; ``reasons`` why the excluded are.
    """
    out = excluded & died.notna()
    if not out.any():
        return "", []
    why = reasons[excluded].mode()
    most = f"; most often: {why.iloc[0]}" if len(why) else ""
    counts = pd.crosstab(died[died.notna()], excluded[died.notna()]).reindex(
        index=[0, 1], columns=[False, True], fill_value=0
    )
    for value, word in ((1, "died"), (0, "lived")):
        if counts.at[value, False] == 0 and counts.at[value, True] >= 2 and counts.at[1 - value, False] >= 2:
            return (
                f"all {counts.at[value, True]} patients who {word} are excluded, and "
                f"{counts.at[1 - value, False]} who did not stay: nothing can be said of survival{most}"
            ), []
    from scipy.stats import fisher_exact, mannwhitneyu  # here, because it takes a second to load

    doubts = []
    if out.sum() >= FEWEST_EXCLUDED and fisher_exact(counts.to_numpy()).pvalue < DOUBTFUL_P:
        doubts.append(
            f"exclusion depends on the outcome: {counts.at[1, True]} of {counts.loc[1].sum()} patients who died and "
            f"{counts.at[0, True]} of {counts.loc[0].sum()} who lived are excluded{most}"
        )
    gone, stay = months[excluded].dropna(), months[~excluded].dropna()
    if len(gone) >= FEWEST_EXCLUDED and len(stay) and mannwhitneyu(gone, stay).pvalue < DOUBTFUL_P:
        doubts.append(
            f"exclusion depends on the time observed: median {gone.median():.1f} months of {len(gone)} excluded and "
            f"{stay.median():.1f} of {len(stay)} others{most}"
        )
    return "", doubts
