"""Derives what people read: row functions folded over the journal."""
