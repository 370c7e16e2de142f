"""Business rules as pure functions: state and command in, facts or a refusal out; no clock, no I/O."""
