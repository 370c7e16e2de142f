"""Workers under leases that execute orders and settle trades. They record through `commands`."""
