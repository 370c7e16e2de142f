"""The views, one file each: tables, what facts do to them, and the questions they answer."""
