"""Tables that are true and no facts: prices, clients, personal words, deliveries, acts."""
