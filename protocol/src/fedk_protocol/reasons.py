"""Every reason code that crosses the wire, with its meaning and the next step. SPECIFICATION.md prints this table."""

from enum import StrEnum
from typing import Self


class Scope(StrEnum):
    """What a code is said about."""

    REFUSED = "refused"  # a result at intake: settled, forget it
    ENDED = "ended"  # a task or an accepted result, in a verdict or a cancel: settled, forget it
    CONNECTION = "connection"  # a Hello, or a result that may be sent again later: nothing is settled
    FAILURE = "failure"  # a task, by the client


class Reason(StrEnum):
    """A member equals its code: `Reason.BAD_NAMES == "bad-names"`. A code that a reader does not know is only shown."""

    scope: Scope
    meaning: str
    next_step: str

    def __new__(cls, code: str, scope: Scope, meaning: str, next_step: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.scope, member.meaning, member.next_step = scope, meaning, next_step
        return member

    BAD_NAMES = (
        "bad-names", Scope.REFUSED, "a blob or a tensor is missing, unknown or named twice",
        "answer with exactly the tensors of the model that the task brought, and the sets that it asked for",
    )  # fmt: skip
    BAD_SHAPE = (
        "bad-shape", Scope.REFUSED, "a tensor has another shape than in the model that the task brought",
        "keep the shapes; detail names the first tensor and both shapes",
    )  # fmt: skip
    BAD_DTYPE = (
        "bad-dtype", Scope.REFUSED, "a tensor has another dtype than in the model, or one that the format lacks",
        "convert back to the model's dtype before answering",
    )  # fmt: skip
    BAD_FORMAT = (
        "bad-format", Scope.REFUSED, "the bytes are not the codec's format: header, offsets or length are wrong",
        "write the blob as the specification's section on the byte format says; detail names the place",
    )  # fmt: skip
    NON_FINITE = (
        "non-finite", Scope.REFUSED, "a tensor holds NaN or infinity",
        "lower the learning rate or look at the data; detail names the tensor and how many",
    )  # fmt: skip
    TOO_LARGE = (
        "too-large", Scope.REFUSED, "more bytes than allowed, or a value beyond the session's limits",
        "detail names the limit: limits.max_abs, max_norm and max_examples are the session's",
    )  # fmt: skip
    BAD_METRIC = (
        "bad-metric", Scope.REFUSED, "a metric is missing, not finite or out of its bounds",
        "report the metrics that the task wants, as finite numbers of at most ±1e200",
    )  # fmt: skip
    NO_EXAMPLES = (
        "no-examples", Scope.REFUSED, "num_examples is zero",
        "answer with a failure when there is nothing to train on",
    )  # fmt: skip
    BAD_HASH = (
        "bad-hash", Scope.REFUSED, "the bytes that arrived do not have the hash or the size announced",
        "none: the client is asked again; twice in a row: look for faulty memory or a file that changed",
    )  # fmt: skip
    FORMULA_ERROR = (
        "formula-error", Scope.REFUSED, "the aggregator's formula raised, or gave a value that is not finite",
        "the server's operator sees the plugin and the traceback; nothing to do at the client",
    )  # fmt: skip
    GATE_FAILED = (
        "gate-failed", Scope.REFUSED, "a plugin of the server vetoed the result or the client, or failed while judging it",
        "ask the server's operator; detail names the plugin",
    )  # fmt: skip

    LATE = (
        "late", Scope.ENDED, "the round closed without this task's answer",
        "none: the client is asked again; slow clients need a longer deadline or less work a round",
    )  # fmt: skip
    STALE = (
        "stale", Scope.ENDED, "the model that it trained on is too many commits old",
        "none: the client is asked again with the present model",
    )  # fmt: skip
    MEMORY = (
        "memory", Scope.ENDED, "the server had no memory for it",
        "none: the client is asked again; the server's operator raises limits",
    )  # fmt: skip
    DAMAGED = (
        "damaged", Scope.ENDED, "the bytes were damaged where they were kept, after the receipt",
        "none: the client is asked again; the server's operator looks at the disk",
    )  # fmt: skip
    HOLDER_LOST = (
        "holder-lost", Scope.ENDED, "the server that held the result was lost, and its client was gone",
        "none: the client is asked again",
    )  # fmt: skip
    SESSION_STOPPED = (
        "session-stopped", Scope.ENDED, "the session was stopped by a person",
        "none",
    )  # fmt: skip
    SESSION_FAILED = (
        "session-failed", Scope.ENDED, "the session failed",
        "none: when it is resumed, the client is asked again",
    )  # fmt: skip
    SESSION_PAUSED = (
        "session-paused", Scope.ENDED, "the client left while the session was paused",
        "none: the client is asked again once the session goes on",
    )  # fmt: skip
    CANCELLED = (
        "cancelled", Scope.ENDED, "the task is not wanted any more",
        "stop working on it; an answer would be refused",
    )  # fmt: skip
    LOST = (
        "lost", Scope.ENDED, "the task was taken from a client that was gone, or this server has no such task",
        "none: the client is asked again",
    )  # fmt: skip

    VERSION = (
        "version", Scope.CONNECTION, "client and server speak different major versions of the protocol",
        "stop and upgrade the older side; detail names both versions",
    )  # fmt: skip
    DUPLICATE_NAME = (
        "duplicate-name", Scope.CONNECTION, "instances of this name replaced each other more than 3 times a minute",
        "stop and give each process a name of its own",
    )  # fmt: skip
    UNKNOWN_PROJECT = (
        "unknown-project", Scope.CONNECTION, "the server has no such project",
        "stop and correct the project's name",
    )  # fmt: skip
    DRAINING = (
        "draining", Scope.CONNECTION, "the server is about to stop and takes nothing new",
        "connect again after the reconnect delay",
    )  # fmt: skip
    NOT_SUPPORTED = (
        "not-supported", Scope.CONNECTION, "the other side does not know this kind of task, codec or representation",
        "about a task: none, others are asked; about a connection: stop and upgrade the older side",
    )  # fmt: skip
    SPOOL_FULL = (
        "spool-full", Scope.CONNECTION, "the server has no room for results now",
        "keep the result and send it again after the reconnect delay",
    )  # fmt: skip

    RAISED = (
        "raised", Scope.FAILURE, "the client's code raised an exception",
        "detail names its type and FILE:LINE; its text stands in the client's own log",
    )  # fmt: skip
