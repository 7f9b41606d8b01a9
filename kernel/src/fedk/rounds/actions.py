"""What the machine asks of the runner. Each is idempotent, and leaves after the transaction that holds its cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedk.aggregation.record import record
from fedk.rounds import events as ev
from fedk.rounds.states import Token


@record(frozen=True, slots=True)
class Keep:
    """What this event has brought along is what counts. Another of the same batch may have said the same in vain."""

    event: "ev.Result | ev.Forwarded | ev.Folded"


@dataclass(frozen=True, slots=True)
class Select:
    """Draw up to `count` of `among`; answered by Selected."""

    token: Token
    count: int
    among: frozenset[str]


@record(frozen=True, slots=True)
class Offer:
    """Send the task to its client."""

    task: str


@record(frozen=True, slots=True)
class Cancel:
    """Take the task back from its client."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Redeliver:
    """Ask the client for the bytes of a result that it still keeps."""

    task: str


@record(frozen=True, slots=True)
class Receipt:
    """Tell the client that its result is held durably."""

    task: str


@record(frozen=True, slots=True)
class Settle:
    """Tell the client how its task ended."""

    task: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Ask a combiner for the updates of these tasks: their sum, answered by Partial, or each, by Forwarded."""

    holder: str
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartialReceipt:
    """Tell a combiner that its sum is here."""

    holder: str
    number: int


@dataclass(frozen=True, slots=True)
class Refold:
    """Tell a combiner that its sum is not taken: these tasks are not its own to sum."""

    holder: str
    number: int
    without: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """Make model `token.round` of these tasks' results; answered by Folded or FoldFailed."""

    token: Token
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """Answer with Timer(token) after the time that is left of `seconds`."""

    token: Token
    seconds: float


@dataclass(frozen=True, slots=True)
class Disarm:
    """Stop the clock; what is left of it is kept."""

    token: Token


@record(frozen=True, slots=True)
class Emit:
    """An entry of the event log."""

    type: str
    body: Mapping[str, Any] = field(default_factory=dict)


Action = (
    Keep
    | Select
    | Offer
    | Cancel
    | Redeliver
    | Receipt
    | Settle
    | Flush
    | PartialReceipt
    | Refold
    | Fold
    | Arm
    | Disarm
    | Emit
)
