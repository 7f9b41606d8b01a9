from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier

from fedk_client import Client, ClientApp, Task, Update, Validation
from fedk_client.dryrun import DryRun

Data = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def model() -> SGDClassifier:
    return SGDClassifier().partial_fit(np.zeros((3, 2)), [0, 1, 2], classes=[0, 1, 2])


def data(me: Client) -> Data:
    y = np.arange(me.part, 60, me.parts) % 3
    return np.stack([y == 0, y == 1], axis=1).astype(float), y


def app_of(
    metrics: dict[str, float] | None = None, *, spoil: float = 0.0, num_examples: int = 12
) -> ClientApp[SGDClassifier, Data]:
    app = ClientApp(model=model, data=data)

    @app.train
    def train(net: SGDClassifier, task: Task[Data]) -> Update:
        for _ in range(task.setting("epochs", 1)):
            net.partial_fit(*task.data)
        net.coef_[0, 0] += spoil
        return Update(net, num_examples=num_examples, metrics=metrics or {"loss": 0.5})

    @app.validate
    def validate(net: SGDClassifier, task: Task[Data]) -> Validation:
        return Validation(num_examples=12, metrics={"accuracy": net.score(*task.data)})

    return app


def dry(app: ClientApp[Any, Any], settings: str = "{}") -> tuple[list[str], list[str]]:
    run = DryRun(app, Client("check", 0, 5), settings)
    return list(run.lines()), run.faults


def test_a_sound_app_shows_its_round() -> None:
    lines, faults = dry(app_of(), '{"epochs": 20, "epcohs": 3}')
    assert lines[0].startswith("model     2 tensors, 9 weights, float64, ")
    assert "num_examples 12   train.loss 0.500   names, shapes, dtypes, finite: ok" in lines[1]
    assert lines[2] == "repeat    same seed, same bytes: ok"
    assert "validate.accuracy 0.333 before, 1.000 after training here" in lines[3]
    assert lines[4] == "settings  read: epochs   given and not read: epcohs"
    assert faults == []


def test_what_a_server_would_refuse_is_a_fault_with_its_code() -> None:
    _, faults = dry(app_of({"loss": float("nan")}, spoil=float("nan"), num_examples=0))
    assert faults == [
        "non-finite: coef_ has 1 NaN or infinite of 6",
        "bad-metric: loss is nan",
        "no-examples: num_examples is 0",
    ]


def test_another_shape_than_the_models_is_a_fault() -> None:
    app = ClientApp(model=lambda: {"w": np.zeros(3)})
    app.train(lambda net, _task: Update({"w": net["w"][:2]}, num_examples=1))
    assert dry(app)[1] == ["bad-shape: w has shape 2, the model 3"]


def test_training_that_does_not_repeat_names_what_differs() -> None:
    own, app = np.random.default_rng(1), ClientApp(model=lambda: {"w": np.zeros(3), "b": np.zeros(1)})
    app.train(lambda net, _task: Update({**net, "w": own.random(3)}, num_examples=1))
    assert dry(app)[0][2] == "repeat    same seed, other bytes: w"


def test_an_app_that_only_trains_is_checked_too() -> None:
    app = ClientApp(model=lambda: {"w": np.zeros(3)})
    app.train(lambda net, _task: Update(net, num_examples=1))
    assert [line.split()[0] for line in dry(app)[0]] == ["model", "train", "repeat", "settings"]
