"""What a formula may see of a round and of an update, and a gate of a session and of a client."""

from fedk.api.aggregator import Round as RoundView
from fedk.api.aggregator import Update
from fedk.api.hooks import ClientFacts, SessionFacts
from fedk.rounds.clients import Arrival
from fedk.rounds.live import Live
from fedk.rounds.roster import Member
from fedk.rounds.states import Task


def round_view(live: Live, no: int, population: int) -> RoundView:
    """Round `no` of a session, before anything is folded."""
    rules = live.state.rules
    target = live.state.round.target if live.state.round is not None else 0
    asked = rules.async_.buffer if rules.mode == "async" else target
    return RoundView(
        number=no,
        population=population,
        asked=asked,
        scalars=live.aggregator_state.scalars,
        folds=live.state.folds,
    )


def update_view(live: Live, task: Task, name: str, arrival: Arrival) -> Update:
    """One answer. Its key is the client's name, and how often it answered in this round (async)."""
    nth = sum(
        t.client == task.client and t.asked_round == task.asked_round and t.number < task.number
        for t in live.state.tasks.values()
    )
    return Update(
        key=f"{name}#{task.base}.{nth}" if live.state.rules.mode == "async" else name,
        client=task.client,
        num_examples=arrival.num_examples,
        metrics=arrival.metrics,
        staleness=live.state.staleness(task),
        norm=arrival.norm,
        max_abs=arrival.max_abs,
    )


def session_facts(live: Live) -> SessionFacts:
    """A session, as gates see it."""
    return SessionFacts(
        id=live.state.id,
        name=live.name,
        project=live.project,
        aggregator=live.record.aggregator,
        rules=live.state.rules.model_dump(mode="json", by_alias=True),
        round=live.state.accepting,
    )


def client_facts(member: Member) -> ClientFacts:
    """A client, as gates see it."""
    return ClientFacts(member.name, member.project, dict(member.attributes))
