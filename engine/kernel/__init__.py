"""Words that all rooms share: facts, errors, limits, values, ids. Imports nothing of the engine."""
