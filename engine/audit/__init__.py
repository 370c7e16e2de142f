"""Checks of the whole journal against the rules, and of its database. Writes nothing to the journal."""
