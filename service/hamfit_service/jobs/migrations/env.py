"""What alembic runs: the steps, on the connection that `jobs.migrate` gives, within its transaction."""

from __future__ import annotations

from typing import Literal

from alembic import context

from hamfit_service.jobs.tables import Base, UtcDateTime


def _rendered(kind: str, item: object, autogenerate: object) -> str | Literal[False]:
    """Steps say what is in the database, and do not change when our classes do."""
    del autogenerate
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite changes a table by making a new one
    render_as_batch=True,
    render_item=_rendered,
)
context.run_migrations()
