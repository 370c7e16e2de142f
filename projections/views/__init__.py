"""The views, one file each: tables, the effect of facts on them, and their queries."""
