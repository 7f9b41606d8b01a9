"""Bookkeeping: the rows and the published events of what one batch did to one session."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fedk.blobs.reader import Span
from fedk.rounds import actions as act
from fedk.rounds.clients import Measured
from fedk.rounds.combiners import Combiner
from fedk.rounds.feed import Published
from fedk.rounds.inbox import Committed, Linked, Seen
from fedk.rounds.ledger import Row, Writes, places_row, round_row, session_row, tasks_changed, write_tasks
from fedk.rounds.live import SHOWN, Base, Live, Means, Summed, Taken
from fedk.rounds.making import Made
from fedk.rounds.offers import settings
from fedk.rounds.roster import Roster
from fedk.rounds.states import ENDED, ROOT, Session, Task
from fedk.rounds.trail import Share, config_hash, digest
from fedk.state import tables as t

UNWANTED = ("rejected", "failed", "lost")
"""Ends that the trail lists."""

_UNKNOWN = object()


@dataclass(slots=True)
class Book:
    """One transaction in the making."""

    roster: Roster
    place: Callable[[Span], str]  # Spool.place
    writes: Writes = field(default_factory=Writes)
    events: list[Published] = field(default_factory=list)

    def session(
        self,
        live: Live,
        old: Session,
        new: Session,
        actions: Sequence[act.Action],
        *,
        taken: Mapping[str, Taken],
        summed: Mapping[str, Summed],
        committed: Committed | None,
        traffic: tuple[int, int],
    ) -> None:
        """Enter one session's part of the batch, or one of its parts: from `old` to `new`."""
        before = len(self.events), self.writes.count
        changed = tasks_changed(old, new)
        write_tasks(self.writes, changed, new, live.record)
        for was, task in changed:
            self._task(live, old, was, task, taken.get(task.id))
        if new.round is not None and old.round is not None and new.round.partials is not old.round.partials:
            for name in new.round.partials - old.round.partials:
                self._partial(live, summed[name])
        extra: dict[str, Any] = {}
        if new.head > old.head and committed is not None and old.round is not None:
            extra = self._commit(live, old, new, committed, traffic)
        self._rounds(live, old, new, traffic, attempts=_attempts(actions))
        if new.status in ENDED and old.status not in ENDED:
            live.record.ended_at = time.time()
            self._measured(live, new.head)
        more = {"round.committed": extra, "session.finished": {"warnings": list(live.record.warnings)}}
        for action in actions:
            if isinstance(action, act.Emit):
                self._emit(live, action, more.get(action.type, {}))
        self._session(live, new, changed=(len(self.events), self.writes.count) != before)

    def _session(self, live: Live, new: Session, *, changed: bool) -> None:
        row = session_row(new, live.record)
        if changed or row != live.row:
            version = live.record.v
            live.record.v = version + 1
            row["v"] = version + 1
            changes = {name: row[name] for name in row if name == "id" or live.row.get(name, _UNKNOWN) != row[name]}
            self.writes.session(live.name, changes, version)
            live.row = row

    # ---- rounds ----

    def _rounds(self, live: Live, old: Session, new: Session, traffic: tuple[int, int], *, attempts: int) -> None:
        was, now = old.round, new.round
        another = was is None or now is None or (now.no, now.first_task) != (was.no, was.first_task)
        if was is not None and another:
            state = "committed" if new.head >= was.no else "failed"
            last = {
                "state": state,
                "attempt": max(was.attempt, attempts - 1),
                "closed_at": live.opened_at + live.seconds,
            }
            self._round(live, old, new, live.round_row | last | _moved(live, traffic))
            live.round_row = {}
        if now is None or (now is was and new.status == old.status):
            return
        if another:
            live.opened_at, live.began, live.traffic, live.refused = time.time(), time.monotonic(), traffic, 0
        times = {"opened_at": live.opened_at, "closed_at": None, **_deadline(live, new)}
        self._round(live, old, new, round_row(new, now, live.record, times | _moved(live, traffic)))

    def _round(self, live: Live, old: Session, new: Session, row: dict[str, Any]) -> None:
        if _lasting(row) == _lasting(live.round_row) and new.status == old.status:
            return
        self.writes.replace(t.rounds, row)
        live.round_row = row

    def _commit(
        self, live: Live, old: Session, new: Session, committed: Committed, traffic: tuple[int, int]
    ) -> dict[str, Any]:
        """The model's rows; returns what the event says of it."""
        assert old.round is not None  # noqa: S101  # only an open round is committed
        base, made, no = committed.base, committed.made, old.round.no
        shares = {i: live.taken[i] for i in old.round.frozen}
        parent = live.bases.get(no - 1)
        self.writes.insert(
            t.models,
            model_row(live, id_=base.id, no=no, parent=parent.id if parent else None, digest_=base.digest, made=made),
        )
        self.stored(live.project, base, made)
        for update in made.updates:
            self.blob(live.project, update.sha256, update.size, "update")
            self.reference(live.project, update.sha256, "update", base.id)
        for task, taken in shares.items():
            self._contribution(live, base.id, old.tasks[task], taken)
        live.record.head_model = base.id
        live.record.warnings = unread(live)
        trained = live.trained.pop(no, Means())
        shown = self._shown(live, base.id, no, made)
        if no > 0:
            self._measured(live, no - 1)
        if no == 0:
            layout = base.model.layout
            size = {
                "tensors": len(layout.tensors),
                "elements": sum(x.size for x in layout.tensors),
                "bytes": layout.size,
            }
        else:
            size = {}
        sent, received = _moved(live, traffic).values()
        return {
            **size,
            "model": base.stored.sha256.hex(),
            "examples": sum(taken.arrival.num_examples for taken in shares.values()),
            "metrics": {**trained.values(), **shown},
            "refused": live.refused,
            "sent": sent,
            "received": received,
            "seconds": round(live.seconds, 6),
            **made.seconds,
        }

    def _shown(self, live: Live, model: str, no: int, made: Made) -> dict[str, float]:
        """What the aggregator shows of its state with each round, as metrics of the model."""
        names = live.aggregator.shows if live.aggregator is not None and no > 0 else ()
        for name in names:
            measured = Measured(1, {name: made.scalars[name]})
            self._measurement(live, task=model, client="", no=no, kind=SHOWN, measured=measured)
        return {f"{SHOWN}.{name}": made.scalars[name] for name in names}

    def _contribution(self, live: Live, model: str, task: Task, taken: Taken) -> None:
        self.writes.insert(
            t.contributions,
            {
                "model": model,
                "task": task.id,
                "project": live.project,
                "client_name": self.roster.name(task.client),
                "update_sha256": taken.arrival.sha256,
                "num_examples": taken.arrival.num_examples,
                "weight": taken.terms.weight if taken.terms else 1.0,
                "via": "/".join(taken.arrival.via) or ROOT,
            },
        )

    def stored(self, project: str, base: Base, made: Made) -> None:
        """The blobs of a model: its bytes, the aggregator's state, and what goes out with tasks."""
        sent = [("sent", one.sha256, one.size) for name, one in base.inputs.items() if name != "model"]
        state = [("state", made.state.sha256, made.state.size)] if made.state else []
        for kind, sha256, size in (("model", made.model.sha256, made.model.size), *state, *sent):
            self.blob(project, sha256, size, kind)
            self.reference(project, sha256, kind, base.id)

    def blob(self, project: str, sha256: bytes, size: int, kind: str) -> None:
        """A blob that is stored: the row may be there already, from an equal model."""
        row = {
            "project": project,
            "sha256": sha256,
            "bytes": size,
            "kind": kind,
            "state": "live",
            "created_at": time.time(),
        }
        self.writes.replace(t.blobs, row)

    def reference(self, project: str, sha256: bytes, kind: str, id_: str) -> None:
        """What needs a blob."""
        self.writes.replace(t.blob_refs, {"project": project, "sha256": sha256, "ref_kind": kind, "ref_id": id_})

    # ---- tasks ----

    def _task(self, live: Live, old: Session, was: Task | None, task: Task, taken: Taken | None) -> None:
        if task.end is not None and task.end.outcome in UNWANTED and (was is None or was.end is None):
            self._rejection(live, task)
        if was is not None and was.state == task.state == "accepted":
            self._here(live, task, taken)
        if taken is None or (was is not None and not was.open) or taken.arrival.result_id != task.result_id:
            return
        if task.state == "accepted":
            self._accepted(live, task, taken, again=was is not None and was.result_id != "")
        elif task.end is not None and task.end.outcome == "recorded":
            self._recorded(live, old, task, taken)

    def _here(self, live: Live, task: Task, taken: Taken | None) -> None:
        """The bytes of an accepted result have come from the combiner that held them: in a sum, or as they were."""
        if taken is not None:
            live.taken[task.id] = replace(live.taken[task.id], arrival=taken.arrival)
            self.writes.replace(t.results, self._result(live, task, live.taken[task.id]))
        else:
            row = {"task": task.id, "holder": task.holder, "partial": task.partial or None}
            self.writes.update(t.results, row)

    def _partial(self, live: Live, summed: Summed) -> None:
        live.partials[summed.name] = summed
        self.writes.insert(
            t.partials,
            {
                "session": live.state.id,
                "name": summed.name,
                "project": live.project,
                "round": summed.round,
                "tasks": sorted(summed.tasks),
                "raw": summed.raw,
                "total": summed.total,
                "blobs": places_row(summed.blobs),
                "bytes": summed.span.size,
                "place": self.place(summed.span),
                "received_at": time.time(),
            },
        )

    def _rejection(self, live: Live, task: Task) -> None:
        assert task.end is not None  # noqa: S101  # the caller looked
        live.refused += task.spoiled
        self.writes.replace(
            t.rejections,
            {
                "task": task.id,
                "project": live.project,
                "session": live.state.id,
                "round": task.asked_round,
                "client_name": self.roster.name(task.client),
                "verdict": task.end.outcome,
                "reason": task.end.reason,
                "detail": task.end.detail,
                "at": time.time(),
            },
        )

    def _accepted(self, live: Live, task: Task, taken: Taken, *, again: bool) -> None:
        """`again`: it was accepted before, and its holder was lost."""
        live.taken[task.id] = taken
        live.settings_read.update(taken.arrival.settings_read)
        (self.writes.replace if again else self.writes.insert)(t.results, self._result(live, task, taken))
        if task.kind == "train" and task.round is not None:
            measured = _own(taken)
            live.trained.setdefault(task.round, Means()).add("train", measured)
            self._metrics(live, task, task.round, "train", measured)
        for kind, measured in taken.arrival.before.items():
            live.measured.setdefault(task.base, Means()).add(kind, measured)
            self._metrics(live, task, task.base, kind, measured)

    def _recorded(self, live: Live, old: Session, task: Task, taken: Taken) -> None:
        live.settings_read.update(taken.arrival.settings_read)
        if task.base >= old.head:  # those of an older model have been told
            live.measured.setdefault(task.base, Means()).add(task.kind, _own(taken))
        self._metrics(live, task, task.base, task.kind, _own(taken))

    def _metrics(self, live: Live, task: Task, no: int, kind: str, measured: Measured) -> None:
        self._measurement(live, task=task.id, client=task.client, no=no, kind=kind, measured=measured)

    def _measurement(self, live: Live, *, task: str, client: str, no: int, kind: str, measured: Measured) -> None:
        for name, value in measured.metrics.items():
            self.writes.replace(
                t.metrics,
                {
                    "task": task,
                    "name": f"{kind}.{name}",
                    "project": live.project,
                    "session": live.state.id,
                    "round": no,
                    "client": client,
                    "kind": kind,
                    "value": value,
                    "num_examples": measured.num_examples,
                    "at": time.time(),
                },
            )

    def _result(self, live: Live, task: Task, taken: Taken) -> dict[str, Any]:
        a, terms = taken.arrival, taken.terms
        return {
            "task": task.id,
            "project": live.project,
            "session": live.state.id,
            "result_id": a.result_id,
            "round": task.round,
            "holder": task.holder,
            "sha256": a.sha256,
            "bytes": a.span.size if a.span else 0,
            "blobs": places_row(a.blobs),
            "num_examples": a.num_examples,
            "metrics": dict(a.metrics),
            "staleness": taken.staleness,
            "weight": terms.weight if terms else 1.0,
            "scale": terms.scale if terms else 1.0,
            "sums": dict(terms.sums) if terms else {},
            "norm": a.norm,
            "max_abs": a.max_abs,
            "place": self.place(a.span) if a.span else "",
            "place_offset": a.span.offset if a.span else 0,
            "via": "/".join(a.via),
            "partial": task.partial or None,
            "received_at": time.time(),
        }

    # ---- events ----

    def _emit(self, live: Live, action: act.Emit, extra: Mapping[str, Any]) -> None:
        body = {"name": live.name, **action.body, **extra}
        if "client" in body:
            body["client"] = self.roster.name(body["client"])
        if "clients" in body:
            body["clients"] = [self.roster.name(client) for client in body["clients"]]
        self.publish(live.project, live.state.id, action.type, body)

    def client(self, seen: Seen) -> None:
        """A client has come or gone."""
        member = seen.member
        self.writes.replace(t.clients, member.row())
        self.publish(member.project, None, seen.event, {"client": member.name, "instance": member.instance})

    def combiner(self, linked: Linked) -> None:
        """A combiner has come or gone, or drains."""
        if isinstance(linked.combiner, Combiner):
            self.writes.replace(t.combiners, linked.combiner.row())
        self.publish("", None, linked.event, {"combiner": linked.combiner.name, "holder": linked.combiner.id})

    def publish(self, project: str, session: str | None, type_: str, body: Mapping[str, Any]) -> None:
        """An event; its sequence number is given when the transaction begins."""
        self.events.append(Published(0, project, session, type_, body, time.time()))

    def _measured(self, live: Live, no: int) -> None:
        """The metrics of model `no` are complete: the next model is made of answers that had it."""
        means = live.measured.pop(no, None)
        if means is not None and means.sums:
            body = {"name": live.name, "round": no, "clients": means.clients, "metrics": means.values()}
            self.publish(live.project, live.state.id, "model.measured", body)


def unread(live: Live) -> tuple[str, ...]:
    """Settings that went to clients and that none of them has read: FedProx without its μ is FedAvg."""
    read = ", ".join(sorted(live.settings_read)) or "none"
    names = sorted(settings(live).keys() - live.settings_read) if live.state.head >= 0 else []
    return tuple(f'setting "{name}" was read by no client (they read: {read})' for name in names)


def _attempts(actions: Iterable[act.Action]) -> int:
    """How many a round has had that was tried again in this batch, and may have ended in it; 0: it was not."""
    retried = (a.body["attempt"] for a in actions if isinstance(a, act.Emit) and a.type == "round.retried")
    return max(retried, default=0)


def _own(taken: Taken) -> Measured:
    return Measured(taken.arrival.num_examples, taken.arrival.metrics)


def _lasting(row: Row) -> Row:
    """Of a round's row what is worth a write of its own."""
    return {k: v for k, v in row.items() if k not in ("deadline_at", "remaining_s", "sent_bytes", "received_bytes")}


def _moved(live: Live, traffic: tuple[int, int]) -> dict[str, int]:
    return {"sent_bytes": traffic[0] - live.traffic[0], "received_bytes": traffic[1] - live.traffic[1]}


def _deadline(live: Live, new: Session) -> dict[str, float | None]:
    r = new.round
    if r is None or not r.armed:
        return {"deadline_at": None, "remaining_s": None}
    left = live.clock.left or new.rules.round.deadline
    if new.status == "running":
        return {"deadline_at": time.time() + left, "remaining_s": None}
    return {"deadline_at": None, "remaining_s": left}


def model_row(live: Live, *, id_: str, no: int, parent: str | None, digest_: bytes, made: Made) -> dict[str, Any]:
    """The row of table `models` of one link of a session's trail."""
    return {
        "id": id_,
        "project": live.project,
        "session": live.state.id,
        "round": no,
        "parent": parent,
        "sha256": made.model.sha256,
        "bytes": made.model.size,
        "digest": digest_,
        "aggregator": live.record.aggregator if no else "(initial)",
        "aggregator_version": live.record.aggregator_version if no else "",
        "config_hash": trail_config(live, no),
        "state_sha256": made.state.sha256 if made.state else None,
        "state_scalars": dict(made.scalars),
        "recipe": dict(made.recipe),
        "seconds": dict(made.seconds),
        "committed_at": time.time(),
    }


def trail_config(live: Live, no: int) -> bytes:
    """What of the aggregator goes into the digest of model `no`."""
    if no == 0:
        return config_hash("(initial)", "", {})
    return config_hash(live.record.aggregator, live.record.aggregator_version, live.config)


def trail_digest(live: Live, no: int, parent: bytes, model: bytes, shares: Iterable[Share]) -> bytes:
    """The digest of model `no`."""
    return digest(parent=parent, model=model, config=trail_config(live, no), shares=shares)


def new_id() -> str:
    """An id of a row."""
    return uuid.uuid4().hex


def event_row(event: Published) -> Row:
    """The row of table `events`."""
    return {
        "seq": event.seq,
        "project": event.project,
        "session": event.session,
        "type": event.type,
        "body": event.body,
        "at": event.at,
    }


def published(row: Any) -> Published:
    """The event of a row of table `events`."""
    return Published(row.seq, row.project, row.session, row.type, row.body, row.at)
