"""Files as destinations."""
