"""Results until their verdict. A result's `state` becomes its session's when the verdict says committed."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import takewhile

import numpy as np

from fedk_client.assignment import MODEL, Answer, Assignment
from fedk_client.errors import AppError, StateError
from fedk_client.kept import Kept
from fedk_client.packing import Packed, packed
from fedk_client.shelf import Shelf
from fedk_protocol.codec import Arrays, Safetensors, read_layout
from fedk_protocol.v1 import federation_pb2 as pb

_WORDS = 200 * 2**10
"""Bytes of a result beside those of its blobs: servers take 256 KiB, with what says how the blobs are written."""

_ROUND = "fedk.round"  # in a state's metadata: the round whose update gave it
_LEFT = "fedk.left/"  # before the names of what a codec left out: it stands in the state, and no user code sees it


class Outbox:
    """One for each process. The thread of user code keeps, the thread of the connection settles.

    Bytes are written while nobody waits: the lock is for what is kept, not for how long a disk takes to take it.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self.slow = shelf, shelf.slow
        self._lock = threading.Lock()
        self._kept = {kept.task: kept for kept in shelf.load()}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(list(self._kept.values()))  # one step of the interpreter, like `find`: neither waits for a disk

    def find(self, task: str) -> Kept | None:
        """The result of this task, unless it has had its verdict."""
        return self._kept.get(task)

    def check_room(self) -> None:
        """Raises StateError where no more results should be kept: a server that never judges would fill the machine."""
        if crowded := self._shelf.crowded(sum(kept.size for kept in self)):
            raise StateError(f"{len(self)} results without a verdict, and what sessions left here, take {crowded}")

    def keep(self, assignment: Assignment, answer: Answer) -> Kept:
        """Encode the answer and keep it: from here on it survives whatever the shelf does.

        Raises BadBlob for arrays that the format lacks.
        """
        sent, left = None, self._states(assignment.session, assignment.round)[1]
        coded = bool(assignment.codec) and MODEL in answer.blobs
        if coded and (sent := packed(assignment, _arrays(answer.blobs[MODEL]), left)):
            left = sent.left or left
        state = {**answer.state, **{_LEFT + name: array for name, array in left.items()}}
        kept = self._written(assignment, answer, sent)
        try:
            self._shelf.keep(kept, _encode_state(state, assignment.round))
        except Exception:
            self._shelf.drop(kept)  # its task fails
            raise
        with self._lock:
            self._kept[kept.task] = kept
        return kept

    def settle(self, task: str, result_id: str, *, committed: bool) -> Kept | None:
        """Forget the task's result; its state is what later tasks see, if this very result is committed.

        None: it is not here (any more).
        """
        with self._lock:
            kept = self._kept.get(task)
            if kept is None:
                return None
            if committed and kept.result_id == result_id:
                self._promote(kept)
            del self._kept[task]  # before its bytes, which nobody may look for then
            self._shelf.drop(kept)
        return kept

    def state(self, session: str, round: int) -> Arrays:  # noqa: A002 — the field's own word
        """What this client's last committed update of the session gave as state."""
        return self._states(session, round)[0]

    def _states(self, session: str, round: int) -> tuple[Arrays, Arrays]:  # noqa: A002 — as above
        """The user's own, and what a codec left out."""
        blob = self._shelf.state(session)
        if not blob or int(read_layout(blob, len(blob)).metadata[_ROUND]) > round:
            return {}, {}  # a state from a later round belongs to an older session of the same name
        found = Safetensors().decode(blob)
        own = {name: array for name, array in found.items() if not name.startswith(_LEFT)}
        left = {name.removeprefix(_LEFT): array for name, array in found.items() if name.startswith(_LEFT)}
        return own, left

    def _written(self, assignment: Assignment, answer: Answer, sent: Packed | None) -> Kept:
        result = _result(assignment, answer)
        seal = _Seal(result, sent, alone=len(answer.blobs) == 1)
        body = self._shelf.write(result.result_id, seal.chunks(answer.blobs))
        number = 1 + max((kept.number for kept in self), default=0)
        return Kept(result, assignment.session, assignment.round, seal.whole.digest(), seal.size, body, number)

    def _promote(self, kept: Kept) -> None:
        # verdicts that come in another order than the updates must not turn the state back
        for older in takewhile(lambda other: other is not kept, self._kept.values()):
            if older.session == kept.session:
                self._shelf.forfeit(older)
        self._shelf.promote(kept)


class _Seal:
    """Names, sizes and hashes of the blobs, noted in the result while their bytes pass by."""

    def __init__(self, result: pb.Result, sent: Packed | None, *, alone: bool) -> None:
        self._result, self._sent, self._alone = result, sent, alone
        self.whole, self.size = sha256(), 0

    def chunks(self, blobs: Mapping[str, Arrays]) -> Iterator[bytes | memoryview]:
        for name in sorted(blobs):
            own, size = self.whole if self._alone else sha256(), 0  # of one blob: its own
            blob = self._result.blobs[name]
            for chunk in self._pieces(name, blobs[name], blob):
                own.update(chunk)
                if not self._alone:
                    self.whole.update(chunk)
                size += len(chunk)
                yield chunk
            blob.sha256, blob.size = own.digest(), size
            self.size += size

    def _pieces(self, name: str, arrays: Arrays, blob: pb.Blob) -> Iterable[bytes | memoryview]:
        """Says in `blob` how they are written."""
        if name == MODEL and self._sent is not None:
            blob.CopyFrom(self._sent.blob)
            return self._sent.pieces
        blob.codec, blob.representation = Safetensors.name, pb.REPRESENTATION_FULL
        return Safetensors().encode(_arrays(arrays))


def _result(assignment: Assignment, answer: Answer) -> pb.Result:
    result = pb.Result(task=assignment.id, result_id=os.urandom(16).hex(), num_examples=answer.num_examples)
    result.settings_read.extend(answer.settings_read)
    for name, value in answer.metrics.items():
        result.metrics[name] = value
    for kind, measured in answer.before.items():
        result.before[kind].CopyFrom(pb.Measured(num_examples=measured.num_examples, metrics=measured.metrics))
    if (size := result.ByteSize()) > _WORDS:
        many = len(answer.metrics) + sum(len(measured.metrics) for measured in answer.before.values())
        raise AppError(
            f"{many:,} metrics and {len(answer.settings_read):,} settings are {size:,} bytes, at most {_WORDS:,}"
        )
    return result


def _arrays(arrays: Arrays) -> Arrays:
    return {name: np.asarray(array) for name, array in arrays.items()}


def _encode_state(state: Arrays, round: int) -> bytes:  # noqa: A002 — the field's own word
    return Safetensors().dumps(_arrays(state), {_ROUND: str(round)}) if state else b""
