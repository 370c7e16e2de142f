"""What the benchmarks stand beside: small programs that others would write."""
