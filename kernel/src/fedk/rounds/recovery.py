"""Recovery: sessions out of their rows, after a start and after a transaction that failed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from fedk.api.errors import BlobError, ConfigError, PluginError
from fedk.rounds import events as ev
from fedk.rounds.ledger import Record, session_row
from fedk.rounds.live import Live
from fedk.rounds.offers import settings
from fedk.rounds.opening import Opener
from fedk.rounds.presence import Post, Presence, present
from fedk.rounds.roster import Roster
from fedk.rounds.states import Round, Session
from fedk.state import tables as t


@dataclass(frozen=True, slots=True)
class Recovery:
    """`read` makes of rows what is in memory, `go_on` derives what was pending."""

    opener: Opener
    roster: Roster
    presence: Presence
    post: Post

    def fresh(self, state: Session, record: Record) -> Live:
        """A session in memory, without its aggregator and models."""
        return self.opener.live(state, record, lambda token: self.post(state.id, ev.Timer(token)))

    async def read(
        self, db: AsyncConnection, state: Session, record: Record, *, traffic: Callable[[str], tuple[int, int]]
    ) -> Live:
        """What it needs and cannot be had is `missing`."""
        live = self.fresh(state, record)
        live.row = session_row(state, record)
        try:
            self.opener.equip(live)
            await self.opener.restore(db, live)
        except (PluginError, ConfigError, BlobError) as error:
            live.missing = error
        live.settings_read = _read_before(live)
        if state.round is not None:
            await _read_round(db, live, state.round, traffic(state.id))
        return live

    def go_on(self, live: Live) -> None:
        """Everybody who was present counts as just lost; every pending action is derived again."""
        now, grace = time.time(), live.state.rules.clients.grace
        asked = {task.client for task in live.state.outstanding()}
        for member in self.roster.of(live.project):
            recent = member.state == "lost" and (member.was_connected or now - member.last_seen < grace)
            if recent and member.admitted(live.state.rules):
                self.post(live.state.id, present(member))
                self.presence.lost(live, member)
            elif member.id in asked and member.state != "connected":  # its Gone may not have come into the rows
                self.post(live.state.id, ev.Gone(member.id))
        if live.state.status == "pending":  # created, and the server ended before it began
            self.post(live.state.id, ev.Start())
        if live.missing is not None:
            self.post(live.state.id, ev.Blocked(str(live.missing), passing=isinstance(live.missing, BlobError)))
        elif live.state.paused_by == "blocked":
            self.post(live.state.id, ev.Unblocked())
        self.post(live.state.id, ev.Recovered())


def _read_before(live: Live) -> set[str]:
    """Settings that clients have read: after a round, those of which no warning says that none has."""
    if live.state.head < 1:
        return set()
    return {
        name for name in settings(live) if not any(one.startswith(f'setting "{name}" ') for one in live.record.warnings)
    }


async def _read_round(db: AsyncConnection, live: Live, r: Round, traffic: tuple[int, int]) -> None:
    wanted = (t.rounds.c.session == live.state.id, t.rounds.c.no == r.no)
    row = (await db.execute(select(t.rounds).where(*wanted))).one()
    live.opened_at, live.round_row = row.opened_at, dict(row._mapping)
    sent, received = traffic
    live.traffic = (sent - row.sent_bytes, received - row.received_bytes)
    now, rules = time.time(), live.state.rules
    most = rules.round.deadline * (r.attempt + 1)
    live.began = time.monotonic() - min(max(now - row.opened_at, 0.0), most)  # the clock may have jumped meanwhile
    left = row.remaining_s if row.remaining_s is not None else (row.deadline_at or 0.0) - now
    # down time and clock jumps cannot expire a round
    live.clock.keep(r.token, min(max(left, rules.clients.grace), rules.round.deadline))
