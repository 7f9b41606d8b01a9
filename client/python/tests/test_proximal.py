import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

from fedk_client.errors import AppError
from fedk_client.proximal import ProximalTerm


def test_each_gradient_grows_by_mu_times_the_way_from_where_it_began() -> None:
    net = {"w": np.array([1.0, 2.0]), "b": np.zeros(1)}
    term = ProximalTerm(net, 0.5)
    net["w"] += [2.0, -4.0]
    gradients = {"w": np.array([10.0, 10.0]), "b": np.array([3.0])}
    term.correct(net, gradients)
    assert gradients["w"].tolist() == [11.0, 8.0]
    assert gradients["b"].tolist() == [3.0]


def test_steps_with_it_end_where_the_loss_and_the_term_balance() -> None:
    """½(w - 1)² + ½·3·w² from w = 0 is least at ¼."""
    net = {"w": np.zeros(1)}
    term = ProximalTerm(net, 3.0)
    for _ in range(200):
        gradients = {"w": net["w"] - 1}
        term.correct(net, gradients)
        net = {"w": net["w"] - 0.1 * gradients["w"]}
    assert net["w"] == pytest.approx([0.25])


def test_mu_0_changes_nothing_and_copies_nothing() -> None:
    net = {"w": np.zeros(1)}
    term = ProximalTerm(net, 0.0)
    net["w"] += 1
    gradients = {"w": np.ones(1)}
    term.correct(net, gradients)
    assert gradients["w"].tolist() == [1.0]


def test_gradients_keep_their_dtype() -> None:
    net = {"w": np.zeros(1, np.float32)}
    term = ProximalTerm(net, 0.1)
    gradients = {"w": np.ones(1, np.float32)}
    term.correct({"w": np.ones(1, np.float32)}, gradients)
    assert gradients["w"].dtype == np.float32


def test_a_dict_of_arrays_needs_its_gradients_beside_it() -> None:
    with pytest.raises(AppError, match=r"correct\(model, gradients\) wants the gradients"):
        ProximalTerm({"w": np.zeros(1)}, 0.1).correct({"w": np.zeros(1)})


def test_a_model_that_hides_its_gradients_says_what_to_take() -> None:
    with pytest.raises(AppError, match=r"gradients of a SGDClassifier are out of reach: take a torch\.nn\.Module, or"):
        ProximalTerm(SGDClassifier().fit(np.eye(2), [0, 1]), 0.1)
