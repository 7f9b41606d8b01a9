"""Plans by seed, and where they are played."""

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.simulation.federation import Federation, Manners, Outcome, Plan

MEMORY = Path("/dev/shm")  # noqa: S108  # a disk in memory, where the system has one: the schedules wait for no fsync
NAMES = "abcde"


def chaos(seed: int) -> Plan:
    """Anything may happen."""
    g = random.Random(f"plan {seed}")
    asynchronous = g.random() < 0.3
    rules = {
        "rounds": 3,
        "seed": seed,
        "mode": "async" if asynchronous else "sync",
        "async": {"buffer": g.choice([1, 3]), "max_staleness": g.choice([1, 9])},
        "clients": {"fraction": g.choice([0.6, 1.0]), "min": g.choice([1, 2]), "grace": g.choice([1, 5, 30])},
        "round": {
            "quorum": g.choice([0.5, 0.8, 1.0]),
            "over_select": g.choice([1.0, 1.5]),
            "retries": g.choice([1, 4]),
            "deadline": g.choice([5, 60, 120]),
            "replace": g.choice([True, True, False]),
        },
        "validation": {"every": g.choice([0, 1, 2])},
        "stop_when": g.choice(["", "", "train.loss no lower for 1 round", "validate.accuracy >= 0.9"]),
        "updates": {"keep": "all"},
    }

    def manners() -> Manners:
        bad = g.random() < 0.4
        return Manners(
            fails=0.2 if bad else 0.0,
            spoils=g.choice([0.0, 0.1]) if bad else 0.0,
            sulks=g.choice([0.0, 0.2]),
            stutters=g.choice([0.0, 0.5]),
            keeps=g.random() < 0.6,
            uploads=g.random() < 0.4,
        )

    everybody = {name: manners() for name in NAMES}
    if g.random() < 0.3:
        everybody["e"] = replace(everybody["e"], trains=False)
    return Plan(
        rules=rules,
        manners=everybody,
        sessions=g.choice([1, 1, 2]),
        faults=g.random() < 0.5,
        crashes=g.choice([0, 1, 3]),
        losses=g.choice([0, 3, 8]),
        meddles=g.choice([0, 0, 2]),
        init=g.random() < 0.3,
    )


def equal(seed: int, *, disturbed: bool) -> Plan:
    """The equality profile: time cannot choose the set, clients seed from their task and come back."""
    g = random.Random(f"equal {seed}")
    rules = {
        "rounds": 3,
        "seed": seed,
        "clients": {"min": len(NAMES), "grace": 100_000},
        "round": {"quorum": 1.0, "deadline": 100_000, "replace": False},
        "validation": {"every": g.choice([0, 1])},
    }
    manners = {
        name: Manners(stutters=0.3, keeps=g.random() < 0.7, uploads=g.random() < 0.4) if disturbed else Manners()
        for name in NAMES
    }
    if not disturbed:
        return Plan(rules=rules, manners=manners, faults=False)
    faults, crashes = g.random() < 0.5, g.choice([1, 2, 4])
    return Plan(rules=rules, manners=manners, faults=faults, crashes=crashes, losses=5, meddles=1)


def scaled(seed: int, *, disturbed: bool, deterministic: bool) -> Plan:
    """The same with float64 weights, in which a sum shows its order, unless it is exact."""
    plan = equal(seed, disturbed=disturbed)
    return replace(plan, wide=True, rules={**plan.rules, "deterministic": deterministic})


def _calm(seed: int, **rules: object) -> dict[str, Any]:
    return {"seed": seed, "clients": {"min": 2}, "validation": {"every": 1}, **rules}


def full(seed: int) -> Plan:
    """No model can be stored for half an hour, and nobody looks after it."""
    return Plan(rules=_calm(seed, rounds=12), manners=_good(), faults=False, full=1_800.0)


def unwritten(seed: int) -> Plan:
    """No row can be written for ten minutes: while clients train, answer and come back."""
    return Plan(rules=_calm(seed, rounds=12), manners=_good(sulks=0.1), faults=False, losses=3, unwritten=600.0)


def patient(seed: int, *, disturbed: bool) -> Plan:
    """Ends by patience; what has been measured is in the rows, whatever crashes."""
    plan = equal(seed, disturbed=disturbed)
    return replace(plan, rules={**plan.rules, "rounds": 30, "stop_when": "train.loss no lower for 2 rounds"})


def onlooker(seed: int, *, mode: str) -> Plan:
    """One of five only validates, and the others validate nothing of their own."""
    rules = _calm(seed, rounds=3, mode=mode, **{"async": {"buffer": 3}})
    return Plan(rules=rules, manners={**_good(), "e": Manners(trains=False)}, faults=False)


def strict(seed: int) -> Plan:
    """A gate admits nobody before the second deadline has passed."""
    rules = _calm(seed, rounds=2, mode="async", round={"deadline": 60, "retries": 2}, **{"async": {"buffer": 2}})
    return Plan(rules=rules, manners=_good(), faults=False, strict=100.0)


def _good(**habits: float) -> dict[str, Manners]:
    return {name: Manners(**habits) for name in NAMES}  # type: ignore[arg-type]  # shares


def play(seed: int, plan: Plan) -> Outcome:
    """One schedule, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        return Federation(seed, plan, Path(folder)).play()
