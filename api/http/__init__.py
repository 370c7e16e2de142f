"""HTTP itself: server, authentication, reading and answering. Knows no resource."""
