"""The environment script of alembic: our connection, in the caller's transaction, or none."""

from __future__ import annotations

from alembic import context

from engine.journal.migrations import version_table

said = context.config.attributes
table = version_table(said["prefix"])
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, version_table=table)
    context.run_migrations()
else:
    context.configure(
        connection=said["connection"], transaction_per_migration=False, version_table=table
    )
    with context.begin_transaction():
        context.run_migrations()
