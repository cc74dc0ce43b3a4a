"""The suite; a package, so that `tests.services` and its like import the same everywhere."""
