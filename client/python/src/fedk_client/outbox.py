"""Results until their verdict. A result's `state` becomes its session's when the verdict says committed."""

import threading
import uuid
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import takewhile

import numpy as np

from fedk_client.assignment import Answer, Assignment
from fedk_client.kept import Kept
from fedk_client.shelf import Shelf
from fedk_protocol.codec import Arrays, Safetensors, read_layout
from fedk_protocol.v1 import federation_pb2 as pb

_ROUND = "fedk.round"  # in a state's metadata: the round whose update gave it


class Outbox:
    """One for each process. The thread of user code keeps, the thread of the connection settles."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        self._kept = {kept.task: kept for kept in shelf.load()}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        with self._lock:
            return iter(list(self._kept.values()))

    def find(self, task: str) -> Kept | None:
        """The result of this task, unless it has had its verdict."""
        return self._kept.get(task)

    def keep(self, assignment: Assignment, answer: Answer) -> Kept:
        """Encode the answer and keep it: from here on it survives whatever the shelf does.

        Raises BadBlob for arrays that the format lacks.
        """
        state = _encode_state(answer.state, assignment.round)
        with self._lock:
            kept = self._written(assignment, answer)
            self._shelf.keep(kept, state)
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
            self._shelf.drop(kept)
            del self._kept[task]
        return kept

    def state(self, session: str, round: int) -> Arrays:  # noqa: A002 — the field's own word
        """What this client's last committed update of the session gave as state."""
        with self._lock:
            blob = self._shelf.state(session)
        if not blob or int(read_layout(blob, len(blob)).metadata[_ROUND]) > round:
            return {}  # a state from a later round belongs to an older session of the same name
        return Safetensors().decode(blob)

    def _written(self, assignment: Assignment, answer: Answer) -> Kept:
        result = _result(assignment, answer)
        seal = _Seal(result)
        body = self._shelf.write(result.result_id, seal.chunks(answer.blobs))
        return Kept(result, assignment.session, assignment.round, seal.whole.digest(), seal.size, body)

    def _promote(self, kept: Kept) -> None:
        # verdicts that come in another order than the updates must not turn the state back
        for older in takewhile(lambda other: other is not kept, self._kept.values()):
            if older.session == kept.session:
                self._shelf.forfeit(older)
        self._shelf.promote(kept)


class _Seal:
    """Names, sizes and hashes of the blobs, noted in the result while their bytes pass by."""

    def __init__(self, result: pb.Result) -> None:
        self._result = result
        self.whole, self.size = sha256(), 0

    def chunks(self, blobs: Mapping[str, Arrays]) -> Iterator[bytes | memoryview]:
        for name in sorted(blobs):
            own, size = sha256(), 0
            for chunk in Safetensors().encode(_arrays(blobs[name])):
                own.update(chunk)
                self.whole.update(chunk)
                size += len(chunk)
                yield chunk
            blob = pb.Blob(
                sha256=own.digest(), size=size, codec=Safetensors.name, representation=pb.REPRESENTATION_FULL
            )
            self._result.blobs[name].CopyFrom(blob)
            self.size += size


def _result(assignment: Assignment, answer: Answer) -> pb.Result:
    return pb.Result(
        task=assignment.id,
        result_id=uuid.uuid4().hex,
        num_examples=answer.num_examples,
        metrics=answer.metrics,
        before={
            kind: pb.Measured(num_examples=measured.num_examples, metrics=measured.metrics)
            for kind, measured in answer.before.items()
        },
        settings_read=answer.settings_read,
    )


def _arrays(arrays: Arrays) -> Arrays:
    return {name: np.asarray(array) for name, array in arrays.items()}


def _encode_state(state: Arrays, round: int) -> bytes:  # noqa: A002 — the field's own word
    return Safetensors().dumps(_arrays(state), {_ROUND: str(round)}) if state else b""
