"""Alembic's entry: runs the steps on the connection and in the schema that `infra/migrate.py` hands over."""

from alembic import context

options = context.config.attributes
context.configure(
    connection=options["connection"],
    version_table="alembic_version",
    version_table_schema=options["schema"],
    transactional_ddl=True,
)
context.run_migrations(schema=options["schema"])
