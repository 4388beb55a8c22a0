"""Alembic's entry point: runs the revisions on the connection that `migrate` opened, one transaction each."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="genomics",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
