import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from fedk_client import Task
from fedk_client.control import ControlVariate
from fedk_protocol.codec import Arrays

Vector = NDArray[np.float64]


def task(c: float | None = None, own: float | None = None) -> Task[None]:
    sent: dict[str, Arrays] = {} if c is None else {"control": {"w": np.array([c])}}
    return Task(None, sent=sent, state={} if own is None else {"control/w": np.array([own])})


def test_gradients_lose_this_clients_own_direction_and_get_everybodys() -> None:
    net, gradients = {"w": np.zeros(1)}, {"w": np.array([10.0])}
    ControlVariate(net, task(2.0, 5.0)).correct(net, gradients)
    assert gradients["w"].tolist() == [7.0]


def test_option_ii_by_hand() -> None:
    """x - y = 6 over K = 3 steps of η = ½ is a mean gradient of 4: cᵢ⁺ = 5 - 2 + 4 = 7, Δcᵢ = 2."""
    net = {"w": np.array([10.0])}
    control = ControlVariate(net, task(2.0, 5.0))
    net["w"] -= 6
    control.update(net, steps=3, learning_rate=0.5)
    assert control.sets["control"]["w"].tolist() == [2.0]
    assert control.state["control/w"].tolist() == [7.0]


def test_before_the_first_committed_update_the_clients_own_is_zero() -> None:
    net = {"w": np.zeros(1)}
    control = ControlVariate(net, task(2.0))
    control.update({"w": np.array([-3.0])}, steps=1, learning_rate=1.0)
    assert control.state["control/w"].tolist() == [1.0]


def test_where_no_control_comes_all_of_it_does_nothing() -> None:
    net, gradients = {"w": np.zeros(1)}, {"w": np.array([10.0])}
    control = ControlVariate(net, task())
    control.correct(net, gradients)
    control.update(net, steps=1, learning_rate=1.0)
    assert (gradients["w"].tolist(), control.sets, control.state) == ([10.0], {}, {})


def test_other_state_of_the_client_is_its_own() -> None:
    given = Task(None, sent={"control": {"w": np.zeros(1)}}, state={"w": np.ones(1), "control/w": np.zeros(1)})
    control = ControlVariate({"w": np.zeros(1)}, given)
    control.update({"w": np.ones(1)}, steps=1, learning_rate=1.0)
    assert list(control.state) == ["control/w"]


def test_tensors_that_have_no_control_are_left_alone() -> None:
    net = {"w": np.zeros(1), "bn.running_mean": np.zeros(1)}
    control = ControlVariate(net, task(1.0))
    gradients = {name: np.zeros(1) for name in net}
    control.correct(net, gradients)
    control.update(net, steps=1, learning_rate=1.0)
    assert gradients["bn.running_mean"].tolist() == [0.0]
    assert list(control.sets["control"]) == ["w"]


def test_in_bfloat16_what_is_sent_and_what_is_kept_move_by_the_same() -> None:
    dtype, net = np.dtype(ml_dtypes.bfloat16), {"w": np.zeros(1, ml_dtypes.bfloat16)}
    own = {"control/w": np.array([100.0], np.float32)}
    control = ControlVariate(net, Task(None, sent={"control": {"w": np.ones(1, dtype)}}, state=own))
    control.update({"w": np.full(1, -0.3, dtype)}, steps=1, learning_rate=1.0)
    moved = control.sets["control"]["w"]
    assert moved.dtype == dtype
    assert control.state["control/w"].dtype == np.float32
    assert control.state["control/w"] == pytest.approx(np.float32(100) + moved.astype(np.float32))


def test_no_steps_are_no_training() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        ControlVariate({"w": np.zeros(1)}, task(1.0)).update({"w": np.zeros(1)}, steps=0, learning_rate=0.1)


# ---- many rounds, results that are lost ----

CLIENTS, ROUNDS, STEPS, RATE, LOST = 10, 400, 5, 0.1, 0.1


def optimum(scales: Vector, targets: Vector) -> Vector:
    """Of Σ ½aᵢ(w - tᵢ)², clients of unlike curvature: where FedAvg ends elsewhere."""
    return np.asarray((scales * targets).sum(0) / scales.sum(0))


def ended(*, on_the_verdict: bool) -> float:
    """How far from the optimum all end, one result of ten lost; clients move cᵢ on the verdict, or at once."""
    draw = np.random.default_rng(0)
    scales, targets = draw.uniform(0.1, 2.0, (CLIENTS, 3)), draw.standard_normal((CLIENTS, 3))
    x, c = np.zeros(3), np.zeros(3)
    states: list[Arrays] = [{} for _ in range(CLIENTS)]
    for _ in range(ROUNDS):
        moves, controls = [], []
        for client in range(CLIENTS):
            net = {"w": x.copy()}
            control = ControlVariate(net, Task(None, sent={"control": {"w": c}}, state=states[client]))
            for _ in range(STEPS):
                gradients = {"w": scales[client] * (net["w"] - targets[client])}
                control.correct(net, gradients)
                net["w"] -= RATE * gradients["w"]
            control.update(net, steps=STEPS, learning_rate=RATE)
            arrives = draw.random() >= LOST
            if arrives:
                moves.append(net["w"] - x)
                controls.append(control.sets["control"]["w"])
            if arrives or not on_the_verdict:
                states[client] = control.state
        x = x + np.mean(moves, axis=0)
        c = c + len(moves) / CLIENTS * np.mean(controls, axis=0)
    return float(np.abs(x - optimum(scales, targets)).max())


def test_with_a_tenth_of_the_results_lost_only_what_was_committed_may_count() -> None:
    assert ended(on_the_verdict=True) < 1e-14
    assert ended(on_the_verdict=False) > 0.01
