"""Offers: what a task says to its client."""

import json
from collections.abc import Mapping
from typing import Any

from fedk.rounds.clients import Input, Offer, Work
from fedk.rounds.coding import CAPABILITY, Coding
from fedk.rounds.counts import due
from fedk.rounds.draw import seed
from fedk.rounds.live import Base, Live
from fedk.rounds.roster import Member
from fedk.rounds.states import Task


def offer(live: Live, task: Task, member: Member) -> Offer:
    """The task for `member`. What it shares with the round's other tasks is one object, encoded once."""
    before = ("validate",) if task.kind == "train" and due(live.state, task.base) and member.can("validate") else ()
    coding = live.coding if task.kind == "train" and _has(member, live.coding) else None
    key = (task.base, task.kind, before, coding is not None)
    work = live.works.get(key)
    if work is None:
        work = live.works[key] = _work(live, task, before, coding)
    return Offer(task.id, task.client, _seed(live, task, member), work)


def _seed(live: Live, task: Task, member: Member) -> int:
    """A round asks a client for one update, however often it has to ask; without rounds each task is for another one."""
    asked = (task.number,) if live.state.rules.mode == "async" else ()
    return seed(live.state.rules.seed or 0, "task", task.kind, task.asked_round, member.name, *asked)


def settings(live: Live) -> Mapping[str, Any]:
    """What clients get with each task: the aggregator's, and the session's over them."""
    own = live.aggregator.client_settings() if live.aggregator is not None else {}
    return {**own, **live.state.rules.client_settings}


def _has(member: Member, coding: Coding | None) -> bool:
    return coding is not None and member.can(CAPABILITY.format(coding.name))


def _work(live: Live, task: Task, before: tuple[str, ...], coding: Coding | None) -> Work:
    base = live.bases.get(task.base)
    training = live.aggregator if task.kind == "train" else None
    return Work(
        project=live.project,
        session=live.state.id,
        session_name=live.name,
        kind=task.kind,
        before=before,
        round=task.asked_round,
        step=task.step,
        inputs=_inputs(base, training is not None),
        settings=json.dumps(settings(live), sort_keys=True),
        wants=tuple(training.metrics) if training else (),
        sets=training.sets if training else (),
        remaining=lambda: live.clock.left if live.clock.running else live.state.rules.round.deadline,
        codec=coding.name if coding is not None else "",
        codec_settings=coding.told if coding is not None else "",
    )


def _inputs(base: Base | None, training: bool) -> Mapping[str, Input]:
    """What the aggregator sends along is for those who train: for others it would be as much again as the model."""
    if base is None:
        return {}
    return base.inputs if training else {"model": base.inputs["model"]}
