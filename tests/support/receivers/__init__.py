"""Receivers of webhooks, and what they were told."""
