"""The heavy stages, from files on disk to the tables that the notebooks read."""
