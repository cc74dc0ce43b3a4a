"""Listeners on a load's events: progress, plain lines, JSON lines. They know the events alone."""
