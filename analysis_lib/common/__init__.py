"""What every room stands on: errors, files, kept results, processes."""
