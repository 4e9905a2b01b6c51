"""Alembic's entry: runs the migrations on the connection that `runtime/migrations.py` passes in."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    transactional_ddl=True,  # True on SQLite as well, because our engine begins its transactions itself.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
