"""Survival statistics and their resampling; knows no study."""
