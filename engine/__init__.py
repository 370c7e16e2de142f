"""Decides and records. Synchronous; knows no HTTP.

Imports point down only: `values errors limits` <- aggregates and rules (pure) <- `codec` <-
`recorder journal` <- the command line. `tests/tidy` keeps it so.
"""
