"""Invariants: what must hold of any journal, view or answer."""
