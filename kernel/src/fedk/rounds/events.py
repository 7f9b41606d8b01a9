"""What may happen to a session. Time is an event."""

from dataclasses import dataclass

from fedk.aggregation.record import record
from fedk.rounds.rules import Rules
from fedk.rounds.states import Token


@dataclass(frozen=True, slots=True)
class Start:
    """Begin: the session waits for clients from now on."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A person pauses it."""


@dataclass(frozen=True, slots=True)
class Resume:
    """A person lets a paused or failed session go on."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A person ends it for good."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something that it needs is missing; `why` names it. `fold`: the fold that gave no model for it.

    `passing`: it may be back by itself, as a disk that was full; a plugin waits for a person.
    """

    why: str
    fold: Token | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Unblocked:
    """What it needed is back."""


@dataclass(frozen=True, slots=True)
class Present:
    """A client may be asked."""

    client: str
    validates: bool = True
    trains: bool = True


@dataclass(frozen=True, slots=True)
class Gone:
    """A client has been away for longer than the grace time, or said goodbye."""

    client: str


@dataclass(frozen=True, slots=True)
class Selected:
    """The answer to a Select: the clients drawn, and those that a gate does not admit to this round."""

    token: Token
    clients: tuple[str, ...]
    vetoed: frozenset[str] = frozenset()
    vetoers: tuple[str, ...] = ()  # the plugins whose gates did not admit them


@record(frozen=True, slots=True)
class Sent:
    """The task is on the client's stream."""

    task: str


@record(frozen=True, slots=True)
class Result:
    """An answer whose bytes `holder` holds durably, and which passed intake."""

    task: str
    result_id: str
    holder: str


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that intake, a formula or a gate does not take."""

    task: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """The client could not answer."""

    task: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timer:
    """A deadline that was armed has come."""

    token: Token


@dataclass(frozen=True, slots=True)
class HolderLost:
    """The bytes that `holder` held are gone: all, or those of `tasks`."""

    holder: str
    tasks: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class HolderBack:
    """A combiner's stream is ready again: what it was asked may not have reached it."""

    holder: str


@dataclass(frozen=True, slots=True)
class Draining:
    """`holder` is to give away what it holds."""

    holder: str


@dataclass(frozen=True, slots=True)
class Partial:
    """A combiner's numbered sum of the updates of `tasks`, whose bytes are durable here."""

    holder: str
    number: int
    tasks: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.holder}#{self.number}"


@record(frozen=True, slots=True)
class Forwarded:
    """A combiner has handed on one result as it came; its bytes are durable here."""

    holder: str
    task: str


@dataclass(frozen=True, slots=True)
class Folded:
    """The next model's bytes are durable; `enough` says why no further round is wanted, or ""."""

    token: Token
    enough: str = ""


@dataclass(frozen=True, slots=True)
class FoldFailed:
    """The fold gave no model; `damaged` names results whose bytes could not be read."""

    token: Token
    why: str
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """The session cannot go on as its rules are; `why` says what a person can do."""

    why: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A person has changed the rules of a session that does not run, and makes no model."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class Recovered:
    """The state was read from its rows after a restart: derive every pending action again."""


Event = (
    Start
    | Pause
    | Resume
    | Stop
    | Blocked
    | Unblocked
    | Present
    | Gone
    | Selected
    | Sent
    | Result
    | Refused
    | TaskFailed
    | Timer
    | HolderLost
    | HolderBack
    | Draining
    | Partial
    | Forwarded
    | Folded
    | FoldFailed
    | Broken
    | Changed
    | Recovered
)
