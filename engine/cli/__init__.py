"""The former address of `order_engine`, for one release."""
