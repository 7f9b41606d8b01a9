import math
import time

import numpy as np
import pytest

from fedk_client import Client, Task, Update, Validation
from fedk_client.errors import AppError
from fedk_client.settings import Settings


def test_a_task_for_a_users_own_test_needs_only_data() -> None:
    task = Task([1, 2, 3])
    assert task.data == [1, 2, 3]
    assert task.remaining == math.inf
    task.report(1, loss=0.5)
    task.log("nobody hears this")


def test_a_setting_has_the_type_of_its_default() -> None:
    task = Task(None, settings={"epochs": 2, "lr": 1, "name": "x", "nesterov": True})
    epochs: int = task.setting("epochs", 1)
    rate: float = task.setting("lr", 0.1)
    assert (epochs, rate, type(rate)) == (2, 1.0, float)
    assert task.setting("name", "") == "x"
    assert task.setting("nesterov", False) is True
    assert task.setting("absent", 0.5) == 0.5


@pytest.mark.parametrize(("value", "default"), [(0.5, 1), (True, 1), (1, True), ("2", 2), ([2], 2), (None, 2)])
def test_a_setting_of_another_type_is_refused_by_name(value: object, default: int) -> None:
    with pytest.raises(
        AppError, match=r'setting "epochs" is .* the client reads it as (int|bool): correct client_settings'
    ):
        Task(None, settings={"epochs": value}).setting("epochs", default)


def test_settings_remember_what_was_asked_for_even_what_they_lack() -> None:
    settings = Settings({"epochs": 2, "epcohs": 3, "lr": 0.1})
    task = Task(None, settings=settings)
    task.setting("epochs", 1)
    task.setting("momentum", 0.9)
    assert task.settings["lr"] == 0.1
    assert settings.read == ("epochs", "lr", "momentum")


def test_remaining_counts_down() -> None:
    task = Task(None, deadline=time.monotonic() + 10)
    first = task.remaining
    assert 9 < task.remaining <= first <= 10


def test_parts_are_counted_from_zero() -> None:
    assert Client("a", 4, 5).parts == 5
    with pytest.raises(ValueError, match="part 5 of 5: parts are counted from 0 to 4"):
        Client("a", 5, 5)


def test_numbers_of_numpy_become_plain_ones() -> None:
    update = Update(None, num_examples=np.int64(3), metrics={"loss": np.float32(0.5)})  # type: ignore[arg-type,dict-item]  # what user code does
    assert (type(update.num_examples), type(update.metrics["loss"])) == (int, float)


def test_zero_examples_pass_for_the_server_to_refuse_and_nonsense_does_not() -> None:
    assert Validation(num_examples=0).num_examples == 0
    with pytest.raises(ValueError, match="num_examples is -1"):
        Update(None, num_examples=-1)
    with pytest.raises(ValueError, match=r"num_examples is 0\.5"):
        Validation(num_examples=0.5)  # type: ignore[arg-type]  # what user code does


def test_a_metric_that_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match='metric "loss" is a list: metrics are single numbers'):
        Update(None, num_examples=1, metrics={"loss": [1.0, 2.0]})  # type: ignore[dict-item]  # what user code does
