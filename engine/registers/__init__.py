"""Authoritative tables beside the journal: prices, clients, personal data, deliveries, acts."""
