"""Drawing and tables: frames in, pictures out; no arithmetic."""
