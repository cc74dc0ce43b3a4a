"""Tests of what stands in examples/: each is run as a user would run it."""
