import functools
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedk_client import Client, ClientApp, Task, Update, Validation
from fedk_client.assignment import Assignment
from fedk_client.errors import AppError
from fedk_client.worker import Worker
from fedk_protocol.codec import Safetensors

Model = dict[str, NDArray[np.float64]]


def model() -> Model:
    return {"w": np.zeros(2)}


def blob(*values: float) -> bytes:
    return Safetensors().dumps({"w": np.array(values, float)})


def worker(app: ClientApp[Model, None], **options: Any) -> Worker[Model, None]:
    return Worker(app, Client("a"), None, **options)


def ask(kind: str = "train", **fields: Any) -> Assignment:
    return Assignment(kind=kind, **{"inputs": {"model": blob(1, 2)}, **fields})


@pytest.fixture
def app() -> ClientApp[Model, None]:
    app = ClientApp(model=model)

    @app.train
    def train(net: Model, task: Task[None]) -> Update:
        net["w"] += task.setting("step", 1.0)
        return Update(net, num_examples=3, metrics={"loss": 0.5})

    @app.validate
    def validate(net: Model, _task: Task[None]) -> Validation:
        accuracy = float(net["w"].sum())
        net["w"] += 100  # whatever it does to its net, no other call sees it
        return Validation(num_examples=2, metrics={"accuracy": accuracy})

    return app


def test_train_sees_the_global_weights_and_answers_with_its_own(app: ClientApp[Model, None]) -> None:
    answer = worker(app).perform(ask(settings='{"step": 0.5, "unread": 1}'))
    assert answer.blobs["model"]["w"].tolist() == [1.5, 2.5]
    assert (answer.num_examples, answer.metrics, answer.settings_read) == (3, {"loss": 0.5}, ("step",))


def test_validate_before_train_measures_the_incoming_model_on_a_net_of_its_own(app: ClientApp[Model, None]) -> None:
    answer = worker(app).perform(ask(before=("validate",)))
    assert answer.before == {"validate": Validation(num_examples=2, metrics={"accuracy": 3.0})}
    assert answer.blobs["model"]["w"].tolist() == [2.0, 3.0]


def test_validate_alone_answers_with_metrics_and_no_bytes(app: ClientApp[Model, None]) -> None:
    answer = worker(app).perform(ask("validate"))
    assert (answer.num_examples, answer.metrics, answer.blobs) == (2, {"accuracy": 3.0}, {})


def test_what_the_app_cannot_do_before_its_task_is_left_out() -> None:
    app = ClientApp(model=model)
    app.train(lambda net, _task: Update(net, num_examples=1))
    assert worker(app).perform(ask(before=("validate",))).before == {}


def test_init_answers_with_the_weights_of_a_seeded_model() -> None:
    app = ClientApp(model=lambda: {"w": np.random.rand(2)})
    first, second = (worker(app).perform(ask("init", seed=5, inputs={})) for _ in range(2))
    assert np.array_equal(first.blobs["model"]["w"], second.blobs["model"]["w"])


def test_the_same_task_twice_gives_the_same_bytes_whatever_was_asked_before() -> None:
    app = ClientApp(model=model)

    @app.train
    def train(net: Model, _task: Task[None]) -> Update:
        return Update({"w": net["w"] + random.random() + np.random.rand()}, num_examples=1)

    @app.validate
    def validate(_net: Model, _task: Task[None]) -> Validation:
        return Validation(num_examples=1, metrics={"drawn": random.random()})

    asked = [ask(seed=9), ask(seed=9, before=("validate",)), ask(seed=10)]
    same, again, other = (worker(app).perform(each).blobs["model"]["w"].tolist() for each in asked)
    assert same == again != other


def test_a_cached_model_does_not_change_what_train_draws() -> None:
    app = ClientApp(model=functools.cache(lambda: {"w": np.random.rand(2)}))
    app.train(lambda net, _task: Update({"w": net["w"] + np.random.rand()}, num_examples=1))
    first, second = (worker(app).perform(ask(seed=9)).blobs["model"]["w"].tolist() for _ in range(2))
    assert first == second


def test_the_aggregators_tensors_and_the_committed_state_are_there() -> None:
    app, seen = ClientApp(model=model), []

    @app.train
    def train(net: Model, task: Task[None]) -> Update:
        seen.append((task.sent["control"]["w"].tolist(), task.state["own"].tolist(), task.session, task.round))
        return Update(net, num_examples=1)

    def state_of(_session: str, round: int) -> Mapping[str, NDArray[Any]]:  # noqa: A002 — the contract's name
        return {"own": np.array([float(round)])}

    assignment = ask(session="s", round=4, inputs={"model": blob(1, 2), "control": blob(7, 8)})
    worker(app, state_of=state_of).perform(assignment)
    assert seen == [([7.0, 8.0], [4.0], "s", 4)]


def test_sets_that_are_asked_for_are_sent_and_others_stay() -> None:
    app = ClientApp(model=model)

    @app.train
    def train(net: Model, _task: Task[None]) -> Update:
        return Update(net, num_examples=1, sets={"control": {"w": np.ones(2)}})

    assert list(worker(app).perform(ask(sets=("control",))).blobs) == ["model", "control"]
    assert list(worker(app).perform(ask()).blobs) == ["model"]
    with pytest.raises(AppError, match="train returned no set momentum, which the session's aggregator needs"):
        worker(app).perform(ask(sets=("momentum",)))


def test_a_metric_that_the_aggregator_needs_is_missed_here(app: ClientApp[Model, None]) -> None:
    worker(app).perform(ask(wants=("loss",)))
    worker(app).perform(ask(wants=("train.loss",)))
    with pytest.raises(AppError, match=r"train reported no metric local_steps, which .* needs; it reported loss"):
        worker(app).perform(ask(wants=("local_steps",)))


def test_a_function_that_forgets_to_return_is_told_what_is_wanted() -> None:
    app = ClientApp(model=model)
    app.train(lambda _net, _task: None)  # type: ignore[arg-type,return-value]  # the mistake
    with pytest.raises(AppError, match=r"train returned NoneType, not fedk_client\.Update"):
        worker(app).perform(ask())


def test_a_global_model_of_another_shape_is_named() -> None:
    app = ClientApp(model=model)
    app.train(lambda net, _task: Update(net, num_examples=1))
    with pytest.raises(AppError, match=r"w is float64 \(3,\) in the weights given, float64 \(2,\) in what model"):
        worker(app).perform(ask(inputs={"model": blob(1, 2, 3)}))


def test_a_task_without_a_model_is_an_error_of_its_own(app: ClientApp[Model, None]) -> None:
    with pytest.raises(AppError, match="the train task came without a model: only control"):
        worker(app).perform(ask(inputs={"control": blob(1)}))
