"""Seals, evidence, and their publication. Never changes an order."""
