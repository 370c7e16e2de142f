"""FIX 4.4: messages and sessions of a venue."""
