"""What people see: listeners on a load's events (progress, plain or JSON lines), and its report.

Listeners know the events alone.
"""
