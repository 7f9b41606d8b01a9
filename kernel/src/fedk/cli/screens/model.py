"""Screens about models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from fedk.api.printable import printable
from fedk.cli import quantity
from fedk.cli.screens.table import facts, names, table

Document = Mapping[str, Any]

_ENDS = {"rejected": "refused", "lost": "lost", "failed": "failed"}
_FEW = 6  # names in a line of the trail


def listed(found: Sequence[Document], flags: str) -> Iterator[str]:
    """The newest models."""
    if not found:
        yield f"no models yet: fedk session start FILE{flags}, or fedk model put FILE{flags}"
        return
    header = ("model", "sha256", "size", "aggregator", "committed")
    rows = [
        (one["ref"], short(one), _size(one), _aggregator(one), quantity.moment(one["committed_at"])) for one in found
    ]
    yield from table(header, rows, right=("size",))
    newest = next((one["ref"] for one in found if not one["collected"]), None)
    get = f": fedk model get {newest} -o M.safetensors{flags}" if newest else ""
    yield f"{quantity.counted(len(found), 'model')}{get}"


def shown(found: Document, flags: str) -> list[str]:
    """One model with its tensors."""
    rows = [("sha256", found["sha256"]), ("size", quantity.size(found["bytes"])), ("id", found["id"])]
    if found["session"] is not None:
        rows += [("digest", found["digest"]), ("made by", _aggregator(found))]
    rows.append(("since", quantity.moment(found["committed_at"])))
    if found["collected"]:
        return [found["ref"], *facts([*rows, ("bytes", f"collected {found['collected']}")])]
    if found["damaged"]:
        return [found["ref"], *facts([*rows, ("damaged", found["damaged"])])]
    tensors = [(one["name"], one["dtype"], "×".join(map(str, one["shape"])) or "scalar") for one in found["tensors"]]
    rows.append(("tensors", f"{len(tensors)}, {quantity.counted(found['weights'], 'weight')}"))
    get = f"fedk model get {found['ref']} -o M.safetensors{flags}"
    return [found["ref"], *facts(rows), *table(("tensor", "dtype", "shape"), tensors), *facts([("next", get)])]


def put(found: Document) -> str:
    """The line after a put."""
    what = f"{quantity.counted(len(found['tensors'] or ()), 'tensor')}, {quantity.counted(found['weights'], 'weight')}"
    text = f"model {found['id']}   {what}, {quantity.size(found['bytes'])}"
    return f'{text}   in a session file: model = "{found["id"]}"'


def got(found: Document, file: str) -> str:
    """The line after a get."""
    return f"{found['ref']}   {quantity.size(found['bytes'])} in {file}, sha256 {short(found)} as committed"


def trail(found: Sequence[Document], checks: Mapping[str, Document]) -> Iterator[str]:
    """A session's models in their order, and whether the chain is whole; with checks, what they found."""
    if not found:
        yield "no model yet: the session waits for its initial one"
        return
    metric = _metric(found)
    header = ["model", "parent", "sha256", "aggregator", "updates", *metric, "committed"]
    rows = []
    for one in found:
        parent = str(one["round"] - 1) if one["parent"] is not None else "–"
        values = [quantity.metric(one["metrics"][name]) if name in one["metrics"] else "" for name in metric]
        at = quantity.moment(one["committed_at"])
        rows.append([one["ref"], parent, short(one), _aggregator(one), _updates(one), *values, at])
    yield from table(header, rows, right=metric)
    for rule, those in _runs(found, [one["collected"] for one in found]):
        yield f"{those}: bytes collected {rule}"
    wrong = list(troubles(found, checks))
    yield from wrong
    chain = "chain broken" if wrong else "chain whole"
    more = "--verify recomputes hashes, and models of kept updates; --round N: weights, refusals"
    if checks:
        more = _verified(found, checks)
        made = [one for one in found if one["round"]]  # the initial one is made of nothing
        for why, those in _runs(made, [checks[one["id"]]["not_replayed"] for one in made]):
            yield f"{those} not replayed: {why}"
    yield f"{quantity.counted(len(found), 'model')}, {chain}.   {more}"


def _verified(found: Sequence[Document], checks: Mapping[str, Document]) -> str:
    """How far it was checked."""
    replayed = sum(checks[one["id"]]["verified"] == "replayed" for one in found)
    again = f"; {quantity.counted(replayed, 'model')} made again, equal to the bit" if replayed else ""
    return f"hashes and digests recomputed{again}"


def _runs(found: Sequence[Document], words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each text, once for models that follow one another, with their names."""
    for text, group in groupby(zip(words, found, strict=False), key=lambda pair: pair[0]):
        refs = [one["ref"] for _, one in group]
        if text:
            yield text, refs[0] if len(refs) == 1 else f"{refs[0]} … {refs[-1]}"


def troubles(found: Iterable[Document], checks: Mapping[str, Document]) -> Iterator[str]:
    """What is wrong with links, digests and bytes."""
    for one in found:
        if one["broken"]:
            yield f"{one['ref']}: {one['broken']}"
        check = checks.get(one["id"])
        if check is not None:
            yield from (f"{one['ref']}: {check[part]}" for part in ("digest", "bytes", "replay") if check[part])


def link(one: Document, checks: Mapping[str, Document]) -> Iterator[str]:
    """One model of a trail, with each update and each refusal."""
    yield f"{one['ref']}   {one['sha256']}   digest {one['digest']}"
    if one["updates"]:
        header = ("client", "weight", "examples", "update sha256")
        rows = [(u["client"], f"{u['weight']:g}", f"{u['num_examples']:,}", u["update_sha256"]) for u in one["updates"]]
        yield from table(header, rows, right=("weight", "examples"))
    for refusal in one["refusals"]:
        why = ", ".join(filter(None, (refusal["reason"], refusal["detail"])))
        yield f" − {refusal['client']} {_ENDS.get(refusal['verdict'], refusal['verdict'])}: {printable(why)}"
    if one["collected"]:
        yield f"{one['ref']}: bytes collected {one['collected']}"
    yield from troubles([one], checks)
    for check in checks.values():
        yield f"verified: {check['verified']}" + (
            f"   not replayed: {check['not_replayed']}" if check["not_replayed"] else ""
        )


def _size(one: Document) -> str:
    return "collected" if one["collected"] else quantity.size(one["bytes"])


def short(one: Document) -> str:
    """The hash as far as people compare it."""
    return f"{one['sha256'][:8]}…"


def _aggregator(one: Document) -> str:
    return f"{one['aggregator']} {one['aggregator_version']}".strip() or "(put)"


def _updates(one: Document) -> str:
    """c1 c2 c4 c5   − c3 lost"""
    taken = names([update["client"] for update in one["updates"]], _FEW) or "–"
    ends = {f"{r['client']} {_ENDS.get(r['verdict'], r['verdict'])}": None for r in one["refusals"]}
    return f"{taken}   − {', '.join(list(ends)[:_FEW])}" if ends else taken


def _metric(found: Iterable[Document]) -> list[str]:
    """The one metric that is worth a column: measured on models, or else reported by training."""
    seen = {name: None for one in found for name in one["metrics"]}
    return sorted(seen, key=lambda name: name.startswith("train."))[:1]
