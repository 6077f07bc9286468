"""Survival statistics and their resampling; no notion of a study."""
