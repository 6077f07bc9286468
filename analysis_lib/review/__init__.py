"""What a reader, a reviewer and a journal get of a run: its record, verdict, report, comparison and package."""
