"""The roster: which clients there are, who is connected, and who may be asked by which session."""

import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import Refused
from fedk.rounds.clients import Joining
from fedk.rounds.rules import Rules, selection
from fedk.state import tables as t

CHANGES_A_MINUTE = 3
"""Instances of one name that may replace each other within a minute; more are two processes fighting for it."""


@dataclass(slots=True)
class Member:
    """A client of a project, connected or not."""

    id: str
    project: str
    name: str
    instance: str = ""
    generation: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    software: str = ""
    state: Literal["connected", "lost", "left"] = "left"
    last_seen: float = 0.0  # seconds since the epoch
    holder: str = ""  # the combiner that it is connected to; "": this server
    was_connected: bool = False  # when the server before this one ended
    changes: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_A_MINUTE))  # monotonic

    def can(self, kind: str) -> bool:
        """Whether it answers tasks of this kind."""
        return kind in self.capabilities

    def admitted(self, rules: Rules) -> bool:
        """Whether a session with `rules` may ask it: for updates, for measurements, or both."""
        wanted = selection(rules.clients.select)
        if not (self.can("train") or self.can("validate")):
            return False
        if wanted is None:
            return True
        attribute, comparison, value = wanted
        return (self.attributes.get(attribute) == value) == (comparison == "==")

    def row(self) -> dict[str, Any]:
        """The row of table `clients`."""
        return {
            "id": self.id,
            "project": self.project,
            "name": self.name,
            "instance": self.instance,
            "generation": self.generation,
            "attributes": dict(self.attributes),
            "capabilities": list(self.capabilities),
            "software": self.software,
            "state": self.state,
            "holder": self.holder,
            "last_seen": self.last_seen,
        }


class Roster:
    """All members, by id and by name."""

    def __init__(self) -> None:
        self._by_id: dict[str, Member] = {}
        self._by_name: dict[tuple[str, str], Member] = {}
        self.projects: set[str] = set()
        self.version = 0  # of who there is and what they can: a count over all clients is made once for each

    async def read(self, db: AsyncConnection) -> None:
        """Read projects and clients; who was connected is now just lost."""
        self.projects = set((await db.scalars(select(t.projects.c.name))).all())
        for row in (await db.execute(select(t.clients))).all():
            member = Member(
                id=row.id,
                project=row.project,
                name=row.name,
                instance=row.instance,
                generation=row.generation,
                attributes=row.attributes,
                capabilities=tuple(row.capabilities),
                software=row.software,
                state="lost" if row.state == "connected" else row.state,
                last_seen=row.last_seen,
                holder=row.holder,
                was_connected=row.state == "connected",
            )
            self._add(member)

    def _add(self, member: Member) -> None:
        self._by_id[member.id] = member
        self._by_name[member.project, member.name] = member

    def __getitem__(self, client: str) -> Member:
        return self._by_id[client]

    def get(self, client: str) -> Member | None:
        """The member with this id."""
        return self._by_id.get(client)

    def name(self, client: str) -> str:
        """The name of a client, for people."""
        member = self._by_id.get(client)
        return member.name if member is not None else client

    def named(self, project: str, name: str) -> Member | None:
        """The member with this name."""
        return self._by_name.get((project, name))

    def all(self) -> Iterable[Member]:
        """The members of all projects."""
        return list(self._by_id.values())

    def of(self, project: str) -> Iterable[Member]:
        """The members of a project."""
        return [m for m in self._by_id.values() if m.project == project]

    def join(self, joining: Joining, holder: str = "") -> Member:
        """Take in a client that says hello. Refused when its project is unknown or its name is fought over."""
        if joining.project not in self.projects:
            known = ", ".join(sorted(self.projects))
            raise Refused("unknown-project", f'project "{joining.project}" does not exist here. Projects: {known}')
        member = self._by_name.get((joining.project, joining.name))
        if member is None:
            member = Member(id=uuid.uuid4().hex, project=joining.project, name=joining.name)
            self._add(member)
        if member.instance != joining.instance:
            self._changed(member)
            member.instance, member.generation = joining.instance, member.generation + 1
        self.version += 1
        member.holder = holder
        member.attributes, member.capabilities = dict(joining.attributes), joining.capabilities
        member.software, member.state, member.last_seen = joining.software, "connected", time.time()
        return member

    def _changed(self, member: Member) -> None:
        now = time.monotonic()
        if len(member.changes) == CHANGES_A_MINUTE and now - member.changes[0] < 60:  # noqa: PLR2004  # a minute
            raise Refused(
                "duplicate-name",
                f'more than {CHANGES_A_MINUTE} processes a minute joined as "{member.name}". '
                "Give each client a name of its own (--name), and start again in a minute.",
            )
        member.changes.append(now)
