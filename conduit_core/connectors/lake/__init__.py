"""Files as a destination: data files in place, and numbered manifests that make them a table."""
