"""Decisions on current states, and their appends. Every write of a client goes through here."""
