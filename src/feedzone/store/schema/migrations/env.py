"""Run the migrations on the connection that store/schema/migrate.py passes. Alembic calls this."""

from alembic import context

from feedzone.store.schema.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=False,
    user_module_prefix="types.",  # as the template of migrations imports feedzone.store.engine.types
)
with context.begin_transaction():
    context.run_migrations()
