"""A small trading program on `eventsourcing` and `eventsourcing-sqlalchemy`: see README.md."""
