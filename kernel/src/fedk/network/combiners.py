"""Combiners: what each says of itself and of those below it, within bounds. It is shown to people, and to balancers."""

import math
import re
from collections.abc import Collection, Mapping

import grpc

from fedk.network.calls import Ended, violated
from fedk.network.hello import check_attributes
from fedk.network.results import EXACT
from fedk.rounds.combiners import BRANCHES, Branch, Combiner
from fedk.settings.settings import COMBINER
from fedk_protocol.address import dialled
from fedk_protocol.v1 import tier_pb2 as tier
from fedk_protocol.version import VERSION

ADDRESSES = 64
"""Of one combiner."""

STATES = frozenset({"live", "draining", "lost"})

CAPACITY = 2**31 - 1
"""The largest of one: a row has so many bits for it."""

LIFETIME = 1e9
"""Seconds, thirty years: nobody has folded for longer."""


def combiner(attach: tier.Attach) -> Combiner:
    """Who attaches. Raises Ended."""
    if attach.version.major != VERSION[0]:
        spoken_here, theirs = ".".join(map(str, VERSION)), f"{attach.version.major}.{attach.version.minor}"
        raise Ended(
            grpc.StatusCode.FAILED_PRECONDITION, f"this server speaks protocol {spoken_here}, the combiner {theirs}"
        )
    _check(attach)
    return Combiner(
        attach.name,
        attach.generation,
        tuple(attach.advertise),
        dict(attach.attributes),
        _capacity(attach),
        attach.instance,
    )


class Told:
    """Those below a combiner: all are told with each of its words, most as in the word before, and checked once."""

    def __init__(self) -> None:
        self._branches: dict[bytes, Branch] = {}

    def hear(self, below: Collection[tier.Branch]) -> list[Branch]:
        """All of one word. Raises Ended."""
        if len(below) > BRANCHES:
            raise violated(f"{len(below):,} combiners below one, at most {BRANCHES:,}")
        before, self._branches = self._branches, {}
        return [self._known(one, before) for one in below]

    def _known(self, one: tier.Branch, before: Mapping[bytes, Branch]) -> Branch:
        raw = one.SerializeToString()
        return self._branches.setdefault(raw, before.get(raw) or _branch(one))


def share(value: float) -> float:
    """From 0 to 1, whatever was said."""
    return min(1.0, seconds(value))


def seconds(value: float) -> float:
    """So many, whatever was said: JSON has no NaN."""
    return min(LIFETIME, max(0.0, value)) if math.isfinite(value) else 0.0


def count(value: int) -> int:
    """So many, whatever was said."""
    return min(EXACT, value)


def _capacity(one: tier.Attach | tier.Branch) -> int | None:
    return min(CAPACITY, one.capacity) or None


def _check(one: tier.Attach | tier.Branch) -> None:
    if not re.fullmatch(COMBINER, one.name):
        raise violated(f"name {one.name[:64]!r} of a combiner: 1 to 40 of A–Z a–z 0–9 _ -, a letter or digit first")
    if not re.fullmatch(r"[0-9a-f]{8,20}", one.generation):
        raise violated("generation of a combiner: 8 to 20 hex digits")
    if len(one.advertise) > ADDRESSES:
        raise violated(f"combiner {one.name} advertises {len(one.advertise):,} addresses, at most {ADDRESSES}")
    for address in one.advertise:
        _check_address(one.name, address)
    check_attributes(one.attributes)


def _check_address(name: str, address: str) -> None:
    try:
        dialled(address)
    except ValueError as error:
        raise violated(f"combiner {name} advertises {address[:64]!a}: it {error}") from error


def _branch(one: tier.Branch) -> Branch:
    _check(one)
    if not re.fullmatch(COMBINER, one.parent) or one.state not in STATES:
        raise violated(f"combiner {one.name} below one: it has a parent, and is live, draining or lost")
    return Branch(
        name=one.name,
        generation=one.generation,
        parent=one.parent,
        state=one.state,
        clients=count(one.clients),
        held=count(one.held),
        held_bytes=count(one.held_bytes),
        advertise=tuple(one.advertise),
        attributes=dict(one.attributes),
        capacity=_capacity(one),
        load=share(one.load),
        fold_seconds=seconds(one.fold_seconds),
    )
