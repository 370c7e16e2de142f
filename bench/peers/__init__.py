"""Peers of the benchmarks: small programs that others would write."""
