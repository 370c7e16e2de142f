"""What the engine sends: webhooks and broker messages."""
