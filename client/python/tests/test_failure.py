import json
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedk_client import Client, ClientApp, Task, Update
from fedk_client.assignment import MODEL, Assignment
from fedk_client.errors import AppError
from fedk_client.failure import describe, trace
from fedk_client.worker import Worker
from fedk_protocol.codec import Arrays, Safetensors

HERE = Path(__file__).name
raising = ClientApp(model=lambda: {"w": np.zeros(1)})


@raising.train
def train(net: Arrays, task: Task[None]) -> Update:
    return Update(net, num_examples=_count_of(task))


def _count_of(task: Task[None]) -> int:
    raise LookupError(task.session)


def caught(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011 — any
        work()
    return info.value


def without(error: Exception, file: str) -> Exception:
    """Raised as if by fedk-client: this file's frames, down to the library's first, are cut off."""
    found = error.__traceback__
    while found is not None and found.tb_frame.f_code.co_filename == file:
        found = found.tb_next
    return error.with_traceback(found)


def test_type_and_place_are_told_the_text_is_not() -> None:
    error = caught(lambda: int("patient 17"))
    line = describe(error, share=False)
    assert line.startswith(f"ValueError at {HERE}:")
    assert "patient" not in line


def test_the_place_is_the_users_line_not_the_librarys_where_it_was_raised() -> None:
    for error in (caught(lambda: json.loads("{")), caught(lambda: np.linalg.inv(np.zeros((2, 3))))):
        assert f" at {HERE}:" in describe(error, share=False)


def test_the_place_of_a_refused_update_is_the_line_that_made_it() -> None:
    error = caught(lambda: Update({}, num_examples=-3))
    assert f"ValueError at {HERE}:" in describe(error, share=False)


def test_a_trace_begins_with_user_code() -> None:
    worker = Worker(raising, Client("a"), None)
    blob = Safetensors().dumps({"w": np.zeros(1)})
    error = caught(lambda: worker.perform(Assignment(kind="train", inputs={MODEL: blob})))
    frames = traceback.extract_tb(trace(without(error, __file__))[2])
    assert [frame.name for frame in frames] == ["train", "_count_of"]


def test_a_trace_without_user_code_is_whole() -> None:
    error = without(caught(lambda: json.loads("{")), __file__)
    assert trace(error)[2] is error.__traceback__


def test_the_text_is_sent_where_it_is_shared() -> None:
    assert describe(caught(lambda: int("17a")), share=True).endswith(": invalid literal for int() with base 10: '17a'")


def test_the_librarys_own_sentences_quote_no_data_and_are_sent() -> None:
    assert describe(AppError("train returned NoneType"), share=False) == "train returned NoneType"
