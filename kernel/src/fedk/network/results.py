"""What a result says of itself, checked before and against its bytes. Raises Refused, which settles it, or Ended."""

import math
import re
from collections.abc import Collection, Iterable, Mapping

from fedk.aggregation.expected import Expected, check_numbers
from fedk.aggregation.intake import Facts, Intake
from fedk.aggregation.unpacking import MODEL, Hashing, Unpacked
from fedk.api.codec import Source
from fedk.api.errors import Refused
from fedk.blobs.reader import Span
from fedk.network.calls import violated
from fedk.network.hello import ID, TEXT
from fedk.rounds.clients import Arrival, Measured
from fedk.rounds.door import OpenTask
from fedk_protocol.codec import Safetensors
from fedk_protocol.layout import shown
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb
from fedk_protocol.v1 import tier_pb2 as tier

BLOBS, METRICS, KINDS, SETTINGS = 64, 256, 16, 1_000
"""How many of each a result may carry."""

EXACT = 2**53
"""The largest count: beyond it JSON and float64 round."""

_LARGEST = 2**40  # bytes of a blob of which a combiner tells: what all hold is added up in 63 bits
_HEADER = 2**20  # bytes by which a blob may be longer than the model that it came from: metadata of its header
_METRIC = 1e200  # the largest: with all examples of all clients the sum of a mean stays below 1.8e308
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # no dot: it stands between kind and metric
_REPRESENTATIONS = (pb.REPRESENTATION_UNSPECIFIED, pb.REPRESENTATION_FULL)
_NATIVE = ("", Safetensors.name)


def check_ids(result: pb.Result) -> None:
    """Before anything is said of it."""
    for field, value in (("task", result.task), ("result_id", result.result_id)):
        if not ID.fullmatch(value):
            raise violated(f"result: {field} {value[:64]!r}: 1 to 64 printable characters without spaces")


def check(result: pb.Result, task: OpenTask) -> None:
    """All but the bytes."""
    _check_count("blobs", result.blobs, BLOBS, Reason.BAD_NAMES)
    _check_count("settings_read", result.settings_read, SETTINGS, Reason.TOO_LARGE)
    for name, blob in result.blobs.items():
        _check_blob(name, blob, task)
    _check_words(result.settings_read)
    _check_metrics(result.metrics)
    if task.kind != "init":
        check_numbers(task.expected or Expected(None), result.num_examples, result.metrics)
    _check_examples(result.num_examples)
    _check_before(result.before, task.kind)


def check_batch(batch: tier.Batch) -> None:
    """What a combiner says once of many results: as much as a client may say of one."""
    _check_count("blobs", batch.blobs, BLOBS, Reason.BAD_NAMES)
    _check_count("settings_read", batch.settings_read, SETTINGS, Reason.TOO_LARGE)
    _check_count("before", batch.before, KINDS, Reason.BAD_METRIC)
    _check_words(batch.settings_read)
    for names in (batch.metrics, *(kind.metrics for kind in batch.before)):
        _check_names(names)
    for kind in batch.before:
        _check_kind(kind.name)
    _check_columns(batch)


def sizes(result: pb.Result) -> dict[str, int]:
    """Bytes by blob, as announced."""
    return {name: blob.size for name, blob in result.blobs.items()}


def intake(result: pb.Result, task: OpenTask) -> Intake | Hashing:
    """For the bytes as they arrive."""
    if task.expected is None:
        raise Refused(Reason.BAD_NAMES, f'a result of kind "{task.kind}" carries no blobs')
    return (Hashing if is_packed(result) else Intake)(task.expected, sizes(result))


def is_packed(result: pb.Result) -> bool:
    """Whether its model came in a codec."""
    return MODEL in result.blobs and result.blobs[MODEL].codec not in _NATIVE


def unpacked(task: OpenTask, source: Source, facts: Facts) -> Unpacked:
    """The result natively, of the bytes that came."""
    assert task.codec is not None  # noqa: S101  # `check` has looked
    assert task.expected is not None  # noqa: S101  # and `intake`
    return Unpacked(task.codec, task.expected, source, facts.blobs)


def bytes_of(result: pb.Result) -> bytes:
    """The blobs' bytes, inline in the result, in the order of their names."""
    parts = []
    for name in sorted(result.blobs):
        blob = result.blobs[name]
        data = blob.inline  # asked for once: each time is a copy
        if len(data) != blob.size:
            text = f"{shown(name)}: {len(data):,} bytes came of the {blob.size:,} announced"
            raise Refused(Reason.BAD_HASH, text)
        parts.append(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def compare(result: pb.Result, facts: Facts, late: Mapping[str, bytes]) -> None:
    """The hashes that were announced, in the result or `late`, with those of the bytes."""
    for name, place in facts.blobs.items():
        announced = result.blobs[name].sha256 or late.get(name, b"")
        if announced != place.sha256:
            said = announced.hex()[:8] or "nothing"
            raise Refused(
                Reason.BAD_HASH, f"{shown(name)}: the bytes have hash {place.sha256.hex()[:8]}…, announced was {said}"
            )


def arrival(client: str, result: pb.Result, facts: Facts, span: Span | None, received: int) -> Arrival:
    """The result as it has passed."""
    return Arrival(
        task=result.task,
        client=client,
        result_id=result.result_id,
        num_examples=result.num_examples,
        metrics=dict(result.metrics),
        sha256=facts.sha256,
        span=span,
        blobs=facts.blobs,
        norm=facts.norm,
        max_abs=facts.max_abs,
        before={kind: Measured(m.num_examples, dict(m.metrics)) for kind, m in result.before.items()},
        settings_read=tuple(result.settings_read),
        received=received,
    )


def _check_blob(name: str, blob: pb.Blob, task: OpenTask) -> None:
    taken = task.codec if name == MODEL else None
    if blob.codec not in (*_NATIVE, *([taken.name] if taken else ())):
        takes = " or ".join([Safetensors.name, *([taken.name] if taken else ())])
        raise Refused(Reason.NOT_SUPPORTED, f"{shown(name)}: codec {shown(blob.codec)}, it is taken as {takes}")
    if taken is not None and taken.based and blob.codec == taken.name:
        if blob.representation != pb.REPRESENTATION_DELTA or blob.base != task.base:
            text = f"{shown(name)}: in {taken.name} it is a delta to the task's model, {task.base.hex()[:8]}…"
            raise Refused(Reason.BAD_FORMAT, text)
    elif blob.representation not in _REPRESENTATIONS:
        raise Refused(Reason.NOT_SUPPORTED, f"{shown(name)}: this server takes full blobs here, no deltas")
    base = task.expected.base if task.expected is not None else None
    if base is not None and blob.size > base.layout.size + _HEADER:
        text = f"{shown(name)} has {blob.size:,} bytes, the model of the task has {base.layout.size:,}"
        raise Refused(Reason.TOO_LARGE, text)


def _check_metrics(metrics: Mapping[str, float]) -> None:
    _check_names(metrics)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Refused(Reason.BAD_METRIC, f"{shown(name)} is {value}, a metric is a finite number")
        if abs(value) > _METRIC:
            text = f"{shown(name)} is {value:g}, a metric is at most ±{_METRIC:g}: no mean is made of larger ones"
            raise Refused(Reason.BAD_METRIC, text)


def _check_names(metrics: Collection[str]) -> None:
    _check_count("metrics", metrics, METRICS, Reason.BAD_METRIC)
    for name in metrics:
        if not is_word(name):
            raise Refused(Reason.BAD_METRIC, f"{shown(name)}: a metric's name has 1 to {TEXT} printable characters")


def _check_before(before: Mapping[str, pb.Measured], own: str) -> None:
    _check_count("before", before, KINDS, Reason.BAD_METRIC)
    for kind, measured in before.items():
        _check_kind(kind, own)
        if not 0 < measured.num_examples <= EXACT:
            raise Refused(Reason.NO_EXAMPLES, f"{kind}: num_examples is {measured.num_examples:,}")
        _check_metrics(measured.metrics)


def _check_kind(kind: str, own: str = "") -> None:
    if kind == own or not _KIND.fullmatch(kind):
        raise Refused(Reason.BAD_METRIC, f"before: {shown(kind)} is no kind that a task can ask for first")


def _check_examples(count: int) -> None:
    if count > EXACT:
        raise Refused(Reason.TOO_LARGE, f"num_examples is {count:,}, at most {EXACT:,}")


def _check_columns(batch: tier.Batch) -> None:
    for value in batch.values:
        if not abs(value) <= _METRIC:  # NaN neither
            raise Refused(Reason.BAD_METRIC, f"one is {value}, a metric is a finite number of at most ±{_METRIC:g}")
    for norm in batch.norms:
        if not 0 <= norm < math.inf:
            raise Refused(Reason.NON_FINITE, f"a norm is {norm:g}")
    _check_examples(max(batch.num_examples, default=0))
    if (size := max(batch.sizes, default=0)) > _LARGEST:
        raise Refused(Reason.TOO_LARGE, f"a blob of {size:,} bytes, at most {_LARGEST:,}")


def _check_words(words: Iterable[str]) -> None:
    for word in words:
        if not is_word(word):
            raise Refused(
                Reason.TOO_LARGE, f"settings_read: {shown(word)}: a name has 1 to {TEXT} printable characters"
            )


def is_word(name: str) -> bool:
    """Whether it can name a metric or a setting."""
    return 0 < len(name) <= TEXT and name.isprintable()


def _check_count(field: str, items: Collection[object], most: int, reason: str) -> None:
    if len(items) > most:
        raise Refused(reason, f"{field}: {len(items):,} entries, at most {most:,}")
