"""Read models: row functions folded over the journal."""
