"""What a formula may see of a round and of an update, and a gate of a session and of a client."""

from copy import deepcopy

from fedk.api.aggregator import Round as RoundView
from fedk.api.aggregator import Update
from fedk.api.hooks import ClientFacts, SessionFacts
from fedk.rounds.clients import Arrival
from fedk.rounds.live import Live, Seen
from fedk.rounds.roster import Member, Roster
from fedk.rounds.states import Task


def population(live: Live, roster: Roster) -> int:
    """Clients that the session may ask for updates, present or not."""
    if live.population[0] != roster.version:
        count = sum(m.can("train") and m.admitted(live.state.rules) for m in roster.of(live.project))
        live.population = roster.version, count
    return live.population[1]


def round_view(live: Live, no: int, roster: Roster) -> RoundView:
    """Round `no` of a session, before anything is folded. Made once for each state: every result asks for it."""
    seen = live.seen
    if seen is None or seen.state is not live.state or seen.before is not live.aggregator_state or seen.no != no:
        seen = live.seen = Seen(live.state, live.aggregator_state, no, _round_view(live, no, roster))
    return seen.view


def _round_view(live: Live, no: int, roster: Roster) -> RoundView:
    rules = live.state.rules
    target = live.state.round.target if live.state.round is not None else 0
    asked = rules.async_.buffer if rules.mode == "async" else target
    return RoundView(
        number=no,
        population=population(live, roster),
        asked=asked,
        scalars=live.aggregator_state.scalars,
        folds=live.state.folds,
    )


def key_of(live: Live, task: Task, name: str) -> str:
    """Of an update: the client's name, and how often it answered in this round (async)."""
    return f"{name}#{task.base}.{_nth(live, task)}" if live.state.rules.mode == "async" else name


def update_view(live: Live, task: Task, name: str, arrival: Arrival) -> Update:
    """One answer."""
    return Update(
        key=key_of(live, task, name),
        client=task.client,
        num_examples=arrival.num_examples,
        metrics=dict(arrival.metrics),  # a plugin may write into them
        staleness=live.state.staleness(task),
        norm=arrival.norm,
        max_abs=arrival.max_abs,
    )


def _nth(live: Live, task: Task) -> int:
    return sum(
        t.client == task.client and t.asked_round == task.asked_round and t.number < task.number
        for t in live.state.tasks.values()
    )


def session_facts(live: Live) -> SessionFacts:
    """A session, as gates see it."""
    return SessionFacts(
        id=live.state.id,
        name=live.name,
        project=live.project,
        aggregator=live.record.aggregator,
        rules=deepcopy(live.state.rules.document),  # a plugin may write into it
        round=live.state.accepting,
    )


def client_facts(member: Member) -> ClientFacts:
    """A client, as gates see it."""
    return ClientFacts(member.name, member.project, dict(member.attributes))
