"""Each distribution as its users get it: built, installed alone, and loaded with."""
