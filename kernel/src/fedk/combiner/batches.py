"""Batches: results as a combiner reports them. What they have in common is said once, the rest stands in columns."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from fedk.aggregation.intake import Place
from fedk.combiner.columns import column, cut, gaps, numbers, rows
from fedk.rounds.clients import Arrival, Measured
from fedk.rounds.states import number_of, session_of, task_id
from fedk_protocol.v1 import tier_pb2 as tier

HASH, RESULT = 32, 16
"""Bytes of a hash, and of a result's id as clients mint it."""

NOTHING = hashlib.sha256().digest()
"""Hash of a result without blobs."""

_MINTED = re.compile(rf"[0-9a-f]{{{2 * RESULT}}}")


def batches(arrivals: Iterable[Arrival], number: Callable[[str], int | None] = lambda _: None) -> list[tier.Batch]:
    """As few as may be. `number` is a client's on the stream; without one clients are named by their ids."""
    alike: dict[object, list[Arrival]] = {}
    for one in sorted(arrivals, key=lambda one: number_of(one.task)):
        alike.setdefault(_kind(one), []).append(one)
    return [_batch(found, [number(one.client) for one in found]) for found in alike.values()]


def _kind(one: Arrival) -> object:
    """What is said once."""
    before = tuple((kind, tuple(sorted(measured.metrics))) for kind, measured in sorted(one.before.items()))
    names = tuple(sorted(one.blobs)), tuple(sorted(one.metrics)), before, one.settings_read
    return session_of(one.task), one.project, one.via, names, _MINTED.fullmatch(one.result_id) is not None


def _batch(found: Sequence[Arrival], callers: Sequence[int | None]) -> tier.Batch:
    first = found[0]
    blobs, metrics, kinds = sorted(first.blobs), sorted(first.metrics), sorted(first.before)
    numbered = [caller for caller in callers if caller is not None]
    known, minted = len(numbered) == len(found), _MINTED.fullmatch(first.result_id) is not None
    lone = len(blobs) == 1 and all(one.blobs[blobs[0]].sha256 == one.sha256 for one in found)
    return tier.Batch(
        session=session_of(first.task),
        project=first.project,
        via=first.via,
        blobs=blobs,
        metrics=metrics,
        before=[tier.Kind(name=kind, metrics=sorted(first.before[kind].metrics)) for kind in kinds],
        settings_read=first.settings_read,
        tasks=gaps(number_of(one.task) for one in found),
        clients=numbered if known else (),
        named=() if known else [one.client for one in found],
        result_ids=bytes.fromhex("".join(one.result_id for one in found)) if minted else b"",
        result_names=() if minted else [one.result_id for one in found],
        sha256=b"".join(one.sha256 for one in found) if blobs else b"",
        blob_sha256=b"" if lone else b"".join(one.blobs[name].sha256 for one in found for name in blobs),
        sizes=column([[one.blobs[name].size for name in blobs] for one in found]),
        num_examples=column([_examples(one, kinds) for one in found]),
        values=column([_values(one, metrics, kinds) for one in found]),
        norms=column([[one.norm, one.max_abs] for one in found]),
    )


def _examples(one: Arrival, kinds: Sequence[str]) -> list[int]:
    return [one.num_examples, *(one.before[kind].num_examples for kind in kinds)]


def _values(one: Arrival, metrics: Sequence[str], kinds: Sequence[str]) -> list[float]:
    before = [one.before[kind].metrics for kind in kinds]
    return [*(one.metrics[name] for name in metrics), *(found[name] for found in before for name in sorted(found))]


def arrivals(batch: tier.Batch, name: Callable[[int], str], *, via: tuple[str, ...] = ()) -> list[Arrival]:
    """The results of one, which have come by these combiners too. ValueError where its columns do not fit together."""
    tasks = [task_id(batch.session, number) for number in numbers(batch.tasks)]
    many, measured = len(tasks), _Measures(batch)
    hashes = cut(batch.sha256, HASH, many) if batch.blobs else [NOTHING] * many
    ids = list(batch.result_names) or [found.hex() for found in cut(batch.result_ids, RESULT, many)]
    columns = zip(
        tasks,
        list(batch.named) or list(map(name, batch.clients)),
        ids,
        hashes,
        _blobs(batch, hashes),
        rows(batch.num_examples, 1 + len(batch.before), many),
        rows(batch.values, measured.width, many),
        rows(batch.norms, 2, many),
        strict=True,
    )
    read, ways = tuple(batch.settings_read), (*via, *batch.via)
    return [
        Arrival(
            task,
            client,
            result_id,
            examples[0],
            measured.own(values),
            sha256,
            blobs=blobs,
            norm=norm,
            max_abs=most,
            before=measured.before(examples, values),
            settings_read=read,
            via=ways,
            project=batch.project,
        )
        for task, client, result_id, sha256, blobs, examples, values, (norm, most) in columns
    ]


def _blobs(batch: tier.Batch, hashes: Sequence[bytes]) -> Iterable[Mapping[str, Place]]:
    names, many = list(batch.blobs), len(hashes)
    sizes = rows(batch.sizes, len(names), many)
    if len(names) == 1 and not batch.blob_sha256:
        return [{names[0]: Place(0, size, sha256)} for (size,), sha256 in zip(sizes, hashes, strict=True)]
    found = rows(cut(batch.blob_sha256, HASH, many * len(names)), len(names), many)
    return [dict(zip(names, _places(*each), strict=True)) for each in zip(sizes, found, strict=True)]


def _places(sizes: Sequence[int], hashes: Sequence[bytes]) -> list[Place]:
    return list(map(Place, accumulate(sizes[:-1], initial=0), sizes, hashes))


class _Measures:
    """The metrics of a batch's results, by their places in a row of values; made once for a row that all have."""

    def __init__(self, batch: tier.Batch) -> None:
        self._kinds, names = [kind.name for kind in batch.before], [batch.metrics, *(k.metrics for k in batch.before)]
        self._names = [list(each) for each in names]
        self.width = sum(map(len, self._names))
        self._row: Sequence[float] | None = None
        self._made: list[Mapping[str, float]] = []

    def own(self, values: Sequence[float]) -> Mapping[str, float]:
        return self._of(values)[0]

    def before(self, examples: Sequence[int], values: Sequence[float]) -> Mapping[str, Measured]:
        if not self._kinds:
            return {}
        return dict(zip(self._kinds, map(Measured, examples[1:], self._of(values)[1:]), strict=True))

    def _of(self, values: Sequence[float]) -> list[Mapping[str, float]]:
        if values is not self._row:
            rest = iter(values)
            self._row, self._made = values, [dict(zip(names, rest, strict=False)) for names in self._names]
        return self._made
