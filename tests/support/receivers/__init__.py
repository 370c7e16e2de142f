"""Receivers of webhooks, and the messages they received."""
