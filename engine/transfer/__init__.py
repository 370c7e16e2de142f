"""Import and export: backup, dump, restore, CSV."""
