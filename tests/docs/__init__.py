"""Tests of the documentation: its blocks run or parse, its tables say what the code says."""
