"""The shared vocabulary: facts, errors, limits, values, ids. Imports nothing of the engine."""
