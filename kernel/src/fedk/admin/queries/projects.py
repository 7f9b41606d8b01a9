"""Projects: the tenants."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import NotFound
from fedk.api.suggestion import did_you_mean
from fedk.state import tables as t

DEFAULT = "default"


async def check(db: AsyncConnection, project: str) -> None:
    """NotFound where the project does not exist, naming those that do."""
    names = (await db.scalars(select(t.projects.c.name).order_by(t.projects.c.name))).all()
    if project not in names:
        near = did_you_mean(project, names)
        raise NotFound(f'project "{project}" does not exist here.{near} Projects: {", ".join(names) or "none"}')
