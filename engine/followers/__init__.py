"""Workers under leases that execute and settle what is due. They record through `commands`."""
