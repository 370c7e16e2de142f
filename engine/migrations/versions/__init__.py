"""The numbered scripts."""
