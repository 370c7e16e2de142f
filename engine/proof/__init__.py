"""Seals, evidence, and their publication. Nothing here changes an order."""
