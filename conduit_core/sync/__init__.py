"""Sync strategies: from a planned load to the requirements and actions that publish it. Pure."""
