"""Words: what the parent and a combiner say to each other, as this server's own types."""

from collections.abc import Callable, Iterable, Mapping

from fedk.aggregation.contribution import Contribution
from fedk.aggregation.expected import Expected
from fedk.aggregation.model import Model
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Update
from fedk.api.codec import BlockCodec
from fedk.blobs.reader import Span
from fedk.combiner.holdings import Held
from fedk.combiner.partials import Partial
from fedk.rounds.clients import Arrival, Flush, Input, Present, Verdict, Wanted, Work
from fedk.rounds.combiners import Branch
from fedk.rounds.states import number_of
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier


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


def report(arrival: Arrival) -> tier.Report:
    """A result whose bytes stay here, or below."""
    result = pb.Result(
        task=arrival.task,
        result_id=arrival.result_id,
        num_examples=arrival.num_examples,
        metrics=arrival.metrics,
        before={
            kind: pb.Measured(num_examples=m.num_examples, metrics=m.metrics) for kind, m in arrival.before.items()
        },
        settings_read=arrival.settings_read,
        blobs={name: pb.Blob(sha256=place.sha256, size=place.size) for name, place in arrival.blobs.items()},
    )
    return tier.Report(
        client=arrival.client,
        result=result,
        sha256=arrival.sha256,
        norm=arrival.norm,
        max_abs=arrival.max_abs,
        via=arrival.via,
        project=arrival.project,
    )


def present(one: Present) -> tier.Present:
    """A client that is connected here or below, or is no more."""
    return tier.Present(client=one.client, instance=one.instance, working=one.working, cause=one.cause)


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


def flush(asked: tier.Flush, shares: Iterable[tier.Share]) -> Flush:
    """What is passed on of it to a combiner below."""
    return Flush(
        session=asked.session,
        project=asked.project,
        round=asked.round,
        forward=asked.forward,
        delta=asked.delta,
        sets=tuple(asked.sets),
        plain=tuple(asked.plain),
        exact=asked.exact,
        wanted=tuple(Wanted(s.task, s.sha256, s.weight, s.scale, s.base) for s in shares),
    )


def terms(share: tier.Share) -> Terms:
    """What the parent has made of an update's numbers."""
    return Terms(share.weight, share.scale)


def spans(held: Held) -> Mapping[str, Span]:
    """Where each blob of a result stands."""
    assert held.span is not None  # noqa: S101  # the caller has looked
    spans, offset = dict[str, Span](), 0
    for name, blob in sorted(held.report.result.blobs.items()):
        spans[name] = held.span.part(offset, blob.size)
        offset += blob.size
    return spans


def partial(one: Partial) -> tier.Partial:
    """A sum, without its bytes."""
    return tier.Partial(
        number=one.number,
        session=one.session,
        round=one.round,
        tasks=map(number_of, one.terms),
        sums={name: pb.Blob(sha256=place.sha256, size=place.size) for name, place in one.blobs.items()},
        raw=one.raw,
        total=one.total,
    )


def contribution(share: tier.Share, held: Held, base: Model) -> Contribution:
    """An update on its way into a sum. The parent has its numbers, and made its terms of them."""
    update = Update(key=share.task, client="", num_examples=1, metrics={}, staleness=0, norm=0.0, max_abs=0.0)
    return Contribution(update, terms(share), spans(held), base)


def verdict(said: pb.Verdict) -> Verdict:
    """The last word on a result."""
    outcome = pb.Outcome.Name(said.outcome).removeprefix("OUTCOME_").lower()
    return Verdict(said.task, said.result_id, outcome, said.model, said.reason, said.detail)
