"""The combiners: which aggregation servers there are between this one and its clients, and what each says of itself."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.state import tables as t

BRANCHES = 4_096
"""Combiners below one that are told of."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A combiner below one of this server's: what that one says of it."""

    name: str
    generation: str
    parent: str  # name
    state: str  # live | draining | lost
    clients: int  # with those of the combiners below it
    held: int  # results
    held_bytes: int
    advertise: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None
    load: float = 0.0
    fold_seconds: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.name}.{self.generation}"

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "attributes": dict(self.attributes), "advertise": list(self.advertise)}


@dataclass(slots=True)
class Combiner:
    """One, connected or not. `id` is what holds results: another disk under the same name is another holder."""

    name: str
    generation: str
    advertise: tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    capacity: int | None = None  # clients; None: no limit set
    instance: str = ""  # of its process; "": of one before this server
    state: Literal["live", "draining", "lost"] = "lost"
    last_seen: float = 0.0  # seconds since the epoch
    load: float = 0.0  # 0 … 1
    held_bytes: int = 0
    fold_seconds: float = 0.0  # since it started
    below: tuple[Branch, ...] = ()  # all combiners below it
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = f"{self.name}.{self.generation}"  # asked for with each of its clients' words

    def row(self) -> dict[str, Any]:
        """The row of table `combiners`."""
        return {
            "name": self.name,
            "generation": self.generation,
            "advertise": list(self.advertise),
            "attributes": dict(self.attributes),
            "capacity": self.capacity,
            "state": self.state,
            "last_seen": self.last_seen,
        }


class Combiners:
    """By name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Combiner] = {}

    async def read(self, db: AsyncConnection) -> None:
        """Who was there before this server: lost until they come back."""
        for row in (await db.execute(select(t.combiners))).all():
            state = "draining" if row.state == "draining" else "lost"
            self._by_name[row.name] = Combiner(
                row.name,
                row.generation,
                tuple(row.advertise),
                row.attributes,
                row.capacity,
                state=state,  # type: ignore[arg-type]  # one of its words
                last_seen=row.last_seen,
            )

    def __iter__(self) -> Iterator[Combiner]:
        return iter(list(self._by_name.values()))

    def named(self, name: str) -> Combiner | None:
        return self._by_name.get(name)

    def get(self, holder: str) -> Combiner | None:
        """The one that now holds results under this id."""
        found = self._by_name.get(holder.rpartition(".")[0])
        return found if found is not None and found.id == holder else None

    def above(self, name: str) -> list[tuple[Combiner, Branch]]:
        """Combiners of this name below those of this server, each with the one that it is below."""
        return [(combiner, branch) for combiner in self for branch in combiner.below if branch.name == name]

    def forget(self, combiner: Combiner) -> None:
        """It is as if it had never been there."""
        del self._by_name[combiner.name]

    def put(self, combiner: Combiner) -> str:
        """It is there now, draining if its process was. Answers the id of another disk of its name; "" for none."""
        before = self._by_name.get(combiner.name)
        same = before is not None and before.id == combiner.id and before.instance in ("", combiner.instance)
        combiner.state = "draining" if before is not None and same and before.state == "draining" else "live"
        combiner.last_seen = time.time()
        self._by_name[combiner.name] = combiner
        return before.id if before is not None and before.id != combiner.id else ""
