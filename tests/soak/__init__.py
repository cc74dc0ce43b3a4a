"""The soak: seeded schedules of changes, loads, kills and rewinds, against a plain-Python model."""
