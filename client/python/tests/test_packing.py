"""What updates travel in, and what is remembered of what did not."""

import logging
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk.testing.protocol import ScriptedServer
from fedk_client import ClientApp, Task, Update
from fedk_client.assignment import Answer, Assignment
from fedk_client.disk import Disk
from fedk_client.kept import Kept
from fedk_client.outbox import Outbox
from fedk_client.packing import capabilities
from fedk_client.shelf import Memory
from fedk_plugin_top_k import TopK
from fedk_protocol.codec import Safetensors
from fedk_protocol.v1 import federation_pb2 as pb

ZEROS = {"w": np.zeros(10, np.float32), "n": np.array(0)}
BASE = Safetensors().dumps(ZEROS)
STEP = np.arange(1, 11, dtype=np.float32)


def asked(task: str, number: int = 1, codec: str = "top-k", settings: str = '{"fraction": 0.1}') -> Assignment:
    return Assignment(
        id=task, session="s", round=number, inputs={"model": BASE}, base=b"hash", codec=codec, codec_settings=settings
    )


def answer(w: NDArray[Any] = STEP, **more: Any) -> Answer:
    return Answer(blobs={"model": {"w": w, "n": np.array(3)}, "control": {"w": np.ones(10)}}, num_examples=5, **more)


def arrived(kept: Kept, codec: str) -> Mapping[str, NDArray[Any]]:
    """What the server reads."""
    assert kept.result.blobs["model"].codec == codec
    data = kept.message().result.blobs["model"].inline
    return TopK().decode(data, base=ZEROS) if codec == "top-k" else Safetensors().decode(data)


def test_the_codecs_that_are_installed_are_capabilities_but_not_the_native_one() -> None:
    assert {"codec:float16", "codec:top-k"} <= set(capabilities())
    assert "codec:safetensors" not in capabilities()


def test_the_model_travels_in_the_tasks_codec_and_the_sets_as_they_are() -> None:
    kept = Outbox(Memory()).keep(asked("t"), answer())
    model, control = kept.result.blobs["model"], kept.result.blobs["control"]
    assert (model.codec, model.representation, model.base) == ("top-k", pb.REPRESENTATION_DELTA, b"hash")
    assert (control.codec, control.representation) == ("safetensors", pb.REPRESENTATION_FULL)
    assert arrived(kept, "top-k")["w"].tolist() == [0] * 9 + [10]
    assert arrived(kept, "top-k")["n"] == 3
    body = bytes(kept.body.read(0, kept.size))
    assert kept.sha256 == sha256(body).digest(), "of the bytes that travel"
    assert model.sha256 == sha256(body[control.size :]).digest()


@pytest.mark.parametrize(("codec", "settings"), [("", ""), ("no-such-codec", ""), ("top-k", '{"unknown": 1}')])
def test_without_a_codec_that_can_be_used_it_travels_natively(
    codec: str, settings: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fedk_client"):
        kept = Outbox(Memory()).keep(asked("t", codec=codec, settings=settings), answer())
    assert arrived(kept, "safetensors")["w"].tolist() == STEP.tolist()
    assert bool(codec) == ("updates travel natively" in caplog.text)


def test_a_model_of_another_shape_travels_natively_so_that_the_server_says_what_is_wrong() -> None:
    kept = Outbox(Memory()).keep(asked("t"), answer(np.zeros(11, np.float32)))
    assert kept.result.blobs["model"].codec == "safetensors"


@pytest.mark.parametrize("disk", [False, True])
def test_what_is_left_out_is_added_to_the_next_update_once_this_one_is_committed(tmp_path: Path, disk: bool) -> None:
    shelf = Disk(tmp_path, project="default", name="a") if disk else Memory()
    outbox = Outbox(shelf)
    first = outbox.keep(asked("t1", 1), answer())
    refused = outbox.keep(asked("t2", 1), answer())
    assert arrived(refused, "top-k")["w"][9] == 10, "nothing is committed yet"
    outbox.settle("t2", refused.result_id, committed=False)
    outbox.settle("t1", first.result_id, committed=True)
    if disk:
        outbox = Outbox(Disk(tmp_path, project="default", name="a"))  # the process has ended meanwhile
    second = outbox.keep(asked("t3", 2), answer())
    assert arrived(second, "top-k")["w"].tolist() == [0] * 8 + [18, 0], "9 now and 9 from before; 10 was sent"
    outbox.settle("t3", second.result_id, committed=True)
    third = outbox.keep(asked("t4", 3), answer(np.zeros(10, np.float32)))
    assert arrived(third, "top-k")["w"].tolist() == [0] * 7 + [16, 0, 0], "8 and 8; of 9 all has been sent"


def test_user_code_never_sees_it_and_its_own_state_moves_as_before() -> None:
    outbox = Outbox(Memory())
    first = outbox.keep(asked("t1", 1), answer(state={"c": np.array([1.0])}))
    outbox.settle("t1", first.result_id, committed=True)
    assert list(outbox.state("s", 2)) == ["c"]
    second = outbox.keep(asked("t2", 2), answer())
    outbox.settle("t2", second.result_id, committed=True)
    assert outbox.state("s", 3) == {}, "a committed update without a state leaves none"
    third = outbox.keep(asked("t3", 3), answer(np.zeros(10, np.float32)))
    assert arrived(third, "top-k")["w"].max() == 16, "but what was left out is still there"


def test_an_update_that_travels_natively_in_between_forgets_nothing() -> None:
    outbox = Outbox(Memory())
    for number, codec in ((1, "top-k"), (2, "")):
        kept = outbox.keep(asked(f"t{number}", number, codec=codec), answer())
        outbox.settle(kept.task, kept.result_id, committed=True)
    third = outbox.keep(asked("t3", 3), answer(np.zeros(10, np.float32)))
    assert arrived(third, "top-k")["w"].tolist() == [0] * 8 + [9, 0]


async def test_a_client_answers_a_task_in_the_codec_that_it_names(server: ScriptedServer, start: Any) -> None:
    app = ClientApp(model=lambda: {"w": np.zeros(10, np.float32)})

    @app.train
    def train(net: dict[str, NDArray[Any]], _: Task[None]) -> Update:
        net["w"] += STEP
        return Update(net, num_examples=1)

    start(app, server.address)
    connection = await server.joined()
    model = server.offer(Safetensors().dumps({"w": np.zeros(10, np.float32)}))
    task = pb.Task(
        id="t",
        session="s",
        kind="train",
        round=1,
        inputs={"model": model},
        codec="top-k",
        codec_settings='{"fraction": 0.2}',
    )
    await connection.send(task=task)
    blob = (await connection.next("result")).blobs["model"]
    assert (blob.codec, blob.base) == ("top-k", model.sha256)
    assert TopK().decode(blob.inline)["w"].tolist() == [0] * 8 + [9, 10]
