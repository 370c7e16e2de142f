"""The sandbox: its clock, its listings, and generated journals. Refuses live journals."""
