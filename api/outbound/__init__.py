"""Outbound messages: webhooks and broker messages."""
