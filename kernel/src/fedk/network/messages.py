"""What the server says, as bytes of the protocol."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedk.api.errors import Refused
from fedk.rounds.clients import Input, Offer, Receipt, Reply, SendFrom, Verdict, Work
from fedk_protocol.fields import DOWNLOADED, Parts, enclosed
from fedk_protocol.reasons import Reason
from fedk_protocol.v1 import federation_pb2 as pb

_TASK = pb.ServerMessage.DESCRIPTOR.fields_by_name["task"].number
_ALSO = pb.ServerMessage.DESCRIPTOR.fields_by_name["also"].number
_OUTCOMES = {name.removeprefix("OUTCOME_").lower(): value for name, value in pb.Outcome.items()}
_ROUNDS = 32
"""Rounds and kinds whose common part is kept, at most 64 KiB and the settings each."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is settled: the client sends the result again after its reconnect delay."""

    task: str
    result_id: str
    reason: str
    detail: str


Answer = Reply | Refusal


WILLING = frozenset({Reason.DRAINING, Reason.GATE_FAILED})
"""Reasons against a joining that may pass, after which a client comes back: a gate has its times."""


def not_joined(refused: Refused) -> pb.Refusal:
    """Why a client is not taken in."""
    return pb.Refusal(reason=refused.reason, detail=refused.detail, retry=refused.reason in WILLING)


def settles(answer: Answer) -> bool:
    """Whether the client is free for other work after it."""
    return isinstance(answer, Receipt | Verdict)


def said(answer: Answer) -> bytes:
    """On the stream."""
    kind, message = spoken(answer)
    return pb.ServerMessage(**{kind: message}).SerializeToString()


def uploaded(answer: Answer) -> bytes:
    """As the reply to an upload."""
    kind, message = spoken(answer)
    return pb.UploadReply(**{kind: message}).SerializeToString()


def spoken(answer: Answer) -> tuple[str, Any]:
    """The kind of word, and the message."""
    names = {"task": answer.task, "result_id": answer.result_id}
    match answer:
        case Receipt():
            return "receipt", pb.Receipt(**names)
        case SendFrom():
            return "send_from", pb.SendFrom(**names, offset=answer.offset)
        case Refusal():
            return "refusal", pb.Refusal(**names, reason=answer.reason, detail=answer.detail, retry=True)
        case Verdict():
            words = {"model": answer.model, "reason": answer.reason, "detail": answer.detail}
            return "verdict", pb.Verdict(**names, outcome=_OUTCOMES[answer.outcome], **words)


def chunk(data: bytes) -> bytes:
    """A Chunk of a download."""
    return b"".join(enclosed(DOWNLOADED, (data,)))


def together(words: Sequence[Parts]) -> bytes:
    """One ServerMessage of several."""
    first, *others = words
    return b"".join([*first, *(part for word in others for part in enclosed(_ALSO, word))])


class Tasks:
    """Tasks as messages. What those of one round have in common, with its inline model, is encoded once."""

    def __init__(self) -> None:
        self._common: OrderedDict[int, tuple[Work, bytes]] = OrderedDict()  # by identity: the work is kept with it

    def message(self, offer: Offer) -> Parts:
        """The task for its client, with the time that remains now."""
        own = pb.Task(id=offer.task, seed=offer.seed, remaining=offer.work.remaining())
        return enclosed(_TASK, (own.SerializeToString(), self._encoded(offer.work)))

    def _encoded(self, work: Work) -> bytes:
        if id(work) not in self._common:
            self._common[id(work)] = work, common(work).SerializeToString()
            if len(self._common) > _ROUNDS:
                self._common.popitem(last=False)
        return self._common[id(work)][1]


def common(work: Work) -> pb.Task:
    """What the tasks of one round and kind have in common."""
    return pb.Task(
        session=work.session_name,
        kind=work.kind,
        before=work.before,
        round=work.round,
        step=work.step,
        inputs={name: _blob(blob) for name, blob in work.inputs.items()},
        settings=work.settings,
        wants=work.wants,
        sets=work.sets,
        codec=work.codec,
        codec_settings=work.codec_settings,
    )


def _blob(blob: Input) -> pb.Blob:
    return pb.Blob(
        sha256=blob.sha256,
        size=blob.size,
        codec=blob.codec,
        representation=pb.REPRESENTATION_FULL,
        inline=blob.inline,
    )
