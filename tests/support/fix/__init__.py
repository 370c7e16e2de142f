"""FIX messages and counterparties of tests."""
