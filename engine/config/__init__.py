"""Settings and keys. No other room reads the environment."""
