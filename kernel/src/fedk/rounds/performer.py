"""The performer: each action of the machine, once the transaction that it comes of is committed."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from fedk.api.errors import PluginError
from fedk.blobs.spool import Spool
from fedk.catalogue.gates import Gates
from fedk.rounds import actions as act
from fedk.rounds import events as ev
from fedk.rounds.answers import of_task
from fedk.rounds.clients import Clients, SendFrom
from fedk.rounds.folds import Folds
from fedk.rounds.gathering import tell
from fedk.rounds.gating import selected, with_settings
from fedk.rounds.inbox import Entry
from fedk.rounds.live import Live
from fedk.rounds.offers import offer
from fedk.rounds.roster import Member, Roster
from fedk.rounds.states import Task
from fedk.rounds.step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """`post` gives a session an event, `put` one with what it has brought along; `spawn` begins what takes a while."""

    clients: Clients
    roster: Roster
    spool: Spool
    gates: Gates
    folds: Folds
    post: Callable[[str, ev.Event], None]
    put: Callable[[Entry], None]
    spawn: Callable[[Coroutine[Any, Any, None]], None]

    def perform(self, step: Step, waited: Collection[str]) -> None:
        """Do what it asks for. `waited`: tasks whose word has been said."""
        live, ahead = step.live, step.fold is None  # who makes the model takes the last
        for action in step.actions:
            if isinstance(action, act.Emit) or (isinstance(action, act.Receipt) and action.task in waited):
                continue  # it is in the rows; it has been said
            if isinstance(action, act.Fold):
                self.spawn(self._make(live, action, step.making))
            else:
                self._perform(live, action, waited, ahead=ahead)

    def _perform(self, live: Live, action: act.Action, waited: Collection[str], *, ahead: bool) -> None:
        task = live.state.tasks.get(getattr(action, "task", ""))
        match action:
            case act.Select():
                self.spawn(self._gated_select(live, action))
            case act.Arm() | act.Disarm():
                _turn(live, action)
            case act.Offer() if task is not None:
                self.offer(live, task)
            case act.Cancel() if task is not None:
                self.clients.cancel(task.client, task.id, action.reason)
            case act.Redeliver() if task is not None:
                self._redeliver(live, task)
            case act.Flush() | act.PartialReceipt() | act.Refold():
                tell(self.clients, live, action)
            case act.Keep() if ahead:
                self._fold_ahead(live, action.event)
            case act.Receipt() | act.Settle() if task is not None:
                self._tell(live, task, said=task.id in waited)

    def offer(self, live: Live, task: Task) -> None:
        """Send the task, if its client is connected; otherwise it is sent when the client is back."""
        member = self.roster.get(task.client)
        if member is None or member.state != "connected":
            return
        if self.gates.has("client_settings"):
            self.spawn(self._gated_offer(live, task, member))
        else:
            self.clients.offer(offer(live, task, member))

    async def _gated_offer(self, live: Live, task: Task, member: Member) -> None:
        try:
            found = await with_settings(self.gates, live, offer(live, task, member), member)
        except PluginError as error:
            self.post(live.state.id, ev.Blocked(str(error)))
            return
        now = live.state.tasks.get(task.id)
        if now is not None and now.open:  # it may have been called off while the gates were asked
            self.clients.offer(found)

    async def _gated_select(self, live: Live, action: act.Select) -> None:
        self.post(live.state.id, await selected(self.gates, live, action, self.roster))

    async def _make(self, live: Live, action: act.Fold, begun: "asyncio.Task[Entry] | None") -> None:
        entry = await (begun or self.folds.made(live, action))
        if isinstance(entry.event, ev.Folded) or not live.closed:  # else its files were closed under it: no failure
            self.put(entry)

    def _redeliver(self, live: Live, task: Task) -> None:
        """Ask for a result again, of a client that still keeps it."""
        if self.roster[task.client].holder:  # its combiner may not know the task: another one had it
            self.offer(live, task)
        self.clients.reply(task.client, SendFrom(task.id, task.result_id, 0))

    def _fold_ahead(self, live: Live, brought: ev.Result | ev.Forwarded | ev.Folded) -> None:
        task = live.state.tasks.get(getattr(brought, "task", ""))
        taken = live.taken.get(task.id) if task is not None else None
        if task is None or taken is None or (task.state, task.kind) != ("accepted", "train"):
            return
        if taken.arrival.span is not None and not task.partial:
            self.folds.ahead(live, task, taken)

    def _tell(self, live: Live, task: Task, *, said: bool) -> None:
        taken = live.taken.get(task.id)
        holders = set[str]()
        if task.state == "settled":
            holders = {*(taken.arrival.via[:1] if taken is not None else ()), *live.copies.pop(task.id, ())}
        if (task.result_id or holders) and (holders or not said):
            reply = of_task(task, live.name, task.result_id)
            if reply is not None:
                self.clients.reply(task.client, reply, holders)
        if task.state == "settled" and taken is not None:
            del live.taken[task.id]
            if taken.arrival.span is not None:
                self.spool.forget(taken.arrival.span)
        if task.state == "settled":
            self.spool.expire(task.id)


def _turn(live: Live, action: act.Arm | act.Disarm) -> None:
    """The session's clock, on or off."""
    match action:
        case act.Arm():
            live.clock.arm(action.token, action.seconds)
        case act.Disarm():
            live.clock.disarm(action.token)
