"""Words: what the parent and a combiner say to each other, as this server's own types."""

from collections.abc import Callable, Iterable, Mapping

from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import Expected
from fedk.aggregation.intake import Place
from fedk.aggregation.model import Model
from fedk.aggregation.record import record
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Update
from fedk.api.codec import BlockCodec
from fedk.blobs.reader import Span
from fedk.combiner.columns import column, cut, gaps, numbers, rows
from fedk.combiner.holdings import Held
from fedk.combiner.partials import Partial
from fedk.rounds.clients import Arrival, Flush, Input, Present, Verdict, Wanted, Work
from fedk.rounds.combiners import Branch
from fedk.rounds.states import number_of, session_of, task_id
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

TOGETHER = 256
"""Words in one message, and results: far below its limit, and enough that a message costs little for each."""

SENT = 4_096
"""Tasks that one message says to be sent; the next one goes on."""

NAMED = 16
"""Bytes of a result's hash that say which of a task's results is meant: nobody can make two that begin alike."""


@record(frozen=True, slots=True)
class Asked:
    """A task for a client of this combiner, or of one below."""

    task: str
    client: str
    common: int
    seed: int
    remaining: float


def work(common: tier.Common, codec: BlockCodec | None, remaining: Callable[[], float]) -> Work:
    """What the tasks of one round and kind have in common, with the seconds that remain; without `codec` they are
    answered natively.
    """
    task = common.task
    inputs = {
        name: Input(blob.sha256, blob.size, blob.codec, blob.inline if blob.HasField("inline") else None)
        for name, blob in task.inputs.items()
    }
    return Work(
        project=common.project,
        session=common.session,
        session_name=task.session,
        kind=task.kind,
        before=tuple(task.before),
        round=task.round,
        step=task.step,
        inputs=inputs,
        settings=task.settings,
        wants=tuple(task.wants),
        sets=tuple(task.sets),
        remaining=remaining,
        codec=task.codec if codec is not None else "",
        codec_settings=task.codec_settings if codec is not None else "",
    )


def expected(wanted: tier.Expectation, model: Model | None, sets: tuple[str, ...]) -> Expected:
    """What intake takes of an answer."""
    return Expected(
        model,
        wanted.base_max_abs,
        sets,
        {name: (one.low, one.high) for name, one in wanted.metrics.items()},
        wanted.largest,
        wanted.max_examples,
        wanted.max_norm or None,
        tuple(wanted.plain),
        wanted.inspect,
    )


def present(one: Present) -> tier.Present:
    """A client that is connected here or below, or is no more."""
    return tier.Present(client=one.client, instance=one.instance, cause=one.cause)


def branch(one: Branch) -> tier.Branch:
    """A combiner below."""
    return tier.Branch(
        name=one.name,
        generation=one.generation,
        parent=one.parent,
        state=one.state,
        advertise=one.advertise,
        attributes=one.attributes,
        capacity=one.capacity or 0,
        clients=one.clients,
        held=one.held,
        held_bytes=one.held_bytes,
        load=one.load,
        fold_seconds=one.fold_seconds,
    )


def asked(message: tier.Assigned, name: Callable[[int], str]) -> list[Asked]:
    """Tasks for clients of this combiner, and of those below. ValueError where its columns do not fit together."""
    tasks = [task_id(message.session, number) for number in numbers(message.tasks)]
    columns = zip(tasks, map(name, message.clients), message.seeds, strict=True)
    return [Asked(task, client, message.common, seed, message.remaining) for task, client, seed in columns]


def flush(message: tier.Flush) -> Flush:
    """What the parent wants of this combiner. ValueError where its columns do not fit together."""
    return Flush(
        session=message.session,
        project=message.project,
        round=message.round,
        forward=message.forward,
        delta=message.delta,
        sets=tuple(message.sets),
        plain=tuple(message.plain),
        exact=message.exact,
        wanted=tuple(one for shares in message.shares for one in _wanted(message.session, shares)),
    )


def _wanted(session: str, shares: tier.Shares) -> Iterable[Wanted]:
    tasks = [task_id(session, number) for number in numbers(shares.tasks)]
    many = len(tasks)
    weights, scales = rows(shares.weights, 1, many), rows(shares.scales, 1, many)
    for task, sha256, (weight,), (scale,) in zip(tasks, cut(shares.sha256, NAMED, many), weights, scales, strict=True):
        yield Wanted(task, sha256, weight, scale, shares.base)


def shares(wanted: Iterable[Wanted]) -> list[tier.Shares]:
    """As they are said."""
    by_base = dict[bytes, list[Wanted]]()
    for one in sorted(wanted, key=lambda one: number_of(one.task)):
        by_base.setdefault(one.base, []).append(one)
    return [
        tier.Shares(
            base=base,
            tasks=gaps(number_of(one.task) for one in found),
            sha256=b"".join(one.sha256[:NAMED] for one in found),
            weights=column([(one.weight,) for one in found]),
            scales=column([(one.scale,) for one in found]),
        )
        for base, found in by_base.items()
    ]


def sent(tasks: Iterable[str]) -> list[tier.Sent]:
    """Tasks that are on their clients' streams."""
    by_session = dict[str, list[int]]()
    for task in tasks:
        by_session.setdefault(session_of(task), []).append(number_of(task))
    return [tier.Sent(session=session, tasks=gaps(sorted(found))) for session, found in by_session.items()]


def terms(share: Wanted) -> Terms:
    """What the parent has made of an update's numbers."""
    return Terms(share.weight, share.scale)


def spans(held: Held) -> Mapping[str, Span]:
    """Where each blob of a result stands."""
    assert held.span is not None  # noqa: S101  # the caller has looked
    return {name: held.span.part(place.offset, place.size) for name, place in held.arrival.blobs.items()}


def partial(one: Partial) -> tier.Partial:
    """A sum, without its bytes."""
    return tier.Partial(
        number=one.number,
        session=one.session,
        round=one.round,
        tasks=gaps(sorted(map(number_of, one.terms))),
        sums=_blobs(one.blobs),
        raw=one.raw,
        total=one.total,
    )


def forwarded(arrival: Arrival) -> tier.Forwarded:
    """A result as it came, without its bytes."""
    return tier.Forwarded(task=arrival.task, result_id=arrival.result_id, blobs=_blobs(arrival.blobs))


def _blobs(places: Mapping[str, Place]) -> dict[str, pb.Blob]:
    return {name: pb.Blob(sha256=place.sha256, size=place.size) for name, place in places.items()}


def contribution(share: Wanted, held: Held, base: Model) -> Contribution:
    """An update on its way into a sum. The parent has its numbers, and made its terms of them."""
    update = Update(key=share.task, client="", num_examples=1, metrics={}, staleness=0, norm=0.0, max_abs=0.0)
    return Contribution(update, terms(share), spans(held), base)


def verdict(said: pb.Verdict) -> Verdict:
    """The last word on a result."""
    outcome = pb.Outcome.Name(said.outcome).removeprefix("OUTCOME_").lower()
    return Verdict(said.task, said.result_id, outcome, said.model, said.reason, said.detail)
