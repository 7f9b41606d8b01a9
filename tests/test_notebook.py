"""Mistakes in a notebook: what the command line says, as an exception."""

import numpy as np
import pytest

import fedk
from fedk.api.errors import ConfigError
from fedk_client import ClientApp


def test_a_rule_that_is_none_is_named_with_the_nearest() -> None:
    app = ClientApp(model=lambda: {"w": np.zeros(1)})
    with pytest.raises(ConfigError) as error:
        fedk.run(app, rules={"round": {"quorm": 0.5}, "stop_when": "soon"}, show=False)
    one, other = error.value.mistakes
    assert one == "round.quorm = 0.5 is not a key here. Did you mean round.quorum?"
    assert other.startswith('stop_when = "soon" wants METRIC')
