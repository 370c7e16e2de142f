"""Engines, or parts of one, inside the test's process."""
