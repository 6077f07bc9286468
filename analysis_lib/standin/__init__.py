"""The stand-in cohort: synthetic CT, masks and outcomes, written as a site's data would lie on disk."""
