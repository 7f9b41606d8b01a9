"""What the machine knows of a session. Immutable: the ledger writes what changed by comparing objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedk.aggregation.record import record
from fedk.rounds.rules import Rules

ROOT = "root"
"""The holder of bytes that this server itself holds."""

FLUSH = -1
"""Serial of the tokens of a flush: no selection has it."""

MEASURING_STEP = 1
"""Step of the tokens of a validation that has tasks of its own."""

Status = Literal["pending", "running", "paused", "finished", "failed", "stopped"]
ENDED = frozenset({"finished", "failed", "stopped"})
FINAL = frozenset({"finished", "stopped"})
"""Ended for good: a failed session can be resumed."""

Outcome = Literal["committed", "recorded", "rejected", "failed", "lost", "cancelled"]


@dataclass(frozen=True, slots=True)
class Token:
    """Names one opening of a round, so that an answer to an earlier one is seen to be stale."""

    round: int
    attempt: int
    step: int = 0
    serial: int = 0  # of the selection


@record(frozen=True, slots=True)
class End:
    """How a task ended."""

    outcome: Outcome
    reason: str = ""
    detail: str = ""


@record(frozen=True, slots=True)
class Task:
    """One question to one client."""

    id: str
    number: int
    client: str
    kind: str  # init | train | validate
    asked_round: int
    attempt: int
    base: int  # round of the model that it brings; -1 for init
    state: Literal["queued", "sent", "accepted", "settled"] = "queued"
    holder: str = ""
    round: int | None = None  # accepted into
    result_id: str = ""
    end: End | None = None
    step: int = 0
    partial: str = ""  # the sum that its update is in, where a combiner has summed it

    @property
    def open(self) -> bool:
        """Whether an answer is still awaited."""
        return self.state in ("queued", "sent")

    @property
    def spoiled(self) -> bool:
        """Whether the client itself failed it: it raised, or intake refused what it sent."""
        return self.end is not None and (
            self.end.outcome == "failed" or (self.end.outcome == "rejected" and self.end.reason not in ENDINGS)
        )

    @property
    def excused(self) -> bool:
        """Whether its client left while the session was paused: the same attempt may ask it again."""
        return self.end is not None and self.end.reason == "session-paused"


ENDINGS = frozenset({"late", "stale", "memory", "damaged", "holder-lost", "session-stopped", "session-failed"})
"""Reasons of a rejection that are not the client's fault."""


@dataclass(frozen=True, slots=True)
class Round:
    """One step from model `no - 1` to model `no`. Round 0 makes the initial model from an `init` task."""

    no: int
    state: Literal["open", "gathering", "folding"] = "open"
    attempt: int = 0
    step: int = 0
    target: int = 0  # 0: too few clients are present, the round waits
    first_task: int = 1  # number of its first task
    selecting: Token | None = None
    serial: int = 0
    vetoed: frozenset[str] = frozenset()
    armed: bool = False
    expired: bool = False  # the deadline of this attempt has passed
    measuring: bool = False  # those who only validate are being selected, for model `no - 1`
    frozen: tuple[str, ...] = ()  # the tasks that are folded
    partials: frozenset[str] = frozenset()  # sums of combiners that are here

    @property
    def token(self) -> Token:
        """Of this opening."""
        return Token(self.no, self.attempt, self.step)

    @property
    def flushing(self) -> Token:
        """Of the time that combiners have for their sums."""
        return Token(self.no, self.attempt, self.step, FLUSH)


@dataclass(frozen=True, slots=True)
class Session:
    """One experiment."""

    id: str
    rules: Rules
    status: Status = "pending"
    why: str = ""
    paused_by: Literal["", "person", "blocked"] = ""
    head: int = -1  # round of the newest model; -1: none yet
    closing: Literal["", "due", "selecting", "asked"] = ""  # the last model is committed: its validation
    round: Round | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)  # of the open round, and every open or accepted one
    next_task: int = 1
    folds: int = 0  # models that it has begun to make: noise is drawn in each, whether it is committed or not
    present: frozenset[str] = frozenset()  # that may train: connected, or lost for less than the grace time
    validators: frozenset[str] = frozenset()  # present, and can validate; some of them do nothing else

    def accepted(self) -> list[Task]:
        """A: the accepted tasks of the open round."""
        no = self.round.no if self.round else None
        return [t for t in self.tasks.values() if t.state == "accepted" and t.round == no]

    def outstanding(self) -> list[Task]:
        """The tasks whose answer is awaited."""
        return [t for t in self.tasks.values() if t.open]

    def making(self) -> list[Task]:
        """O: of those, what models are made of. No round waits for one that only measures."""
        return [t for t in self.outstanding() if t.kind != "validate"]

    @property
    def measuring(self) -> Token:
        """Of the validation of the newest model."""
        return Token(self.head, 0, MEASURING_STEP)

    @property
    def accepting(self) -> int:
        """The round that an answer arriving now would belong to."""
        if self.round is None:
            return self.head + 1
        return self.round.no + (self.round.state != "open")

    def staleness(self, task: Task) -> int:
        """Commits between the base that `task` brought and the round that has accepted it, or would accept it now."""
        no = self.accepting if task.round is None else task.round
        return max(0, no - 1 - task.base)


def session_of(task: str) -> str:
    """The id of the session that a task's id names."""
    return task.rpartition("-")[0]


def number_of(task: str) -> int:
    """The number within its session."""
    return int(task.rpartition("-")[2])


def task_id(session: str, number: int) -> str:
    """Of both."""
    return f"{session}-{number}"
