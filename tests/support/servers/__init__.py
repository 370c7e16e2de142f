"""Databases, servers and commands as real processes."""
