"""Helpers shared by tests. Holds no test."""
