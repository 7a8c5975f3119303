"""Runs revisions on the connection that app/migrate.py hands over; from the command line, on the home's database."""

from alembic import context

from app.migrate import connection_for_upgrade
from app.settings import Settings
from app.tables import Base


def run(connection):
    # one transaction from the old head to the new one: a kill anywhere leaves the old database
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()


if (handed_over := context.config.attributes.get("connection")) is not None:
    run(handed_over)
else:
    with connection_for_upgrade(Settings().database) as connection:
        run(connection)
