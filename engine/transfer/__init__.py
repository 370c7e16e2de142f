"""Into and out of the engine: backup, dump, restore, CSV."""
