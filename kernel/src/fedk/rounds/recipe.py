"""A recipe: what a replay needs to know of how a model was made, beside its base, its updates and the state."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from fedk.api.aggregator import Round
from fedk.rounds.loaded import Part
from fedk.rounds.rules import Rules

_RULES = ("mode", "async", "aggregator", "codec", "deterministic")
"""Rules that the model depends on: a session that is resumed may have others from then on."""

FEDK = version("fedk")


def recipe(rules: Rules, view: Round, plugins: Iterable[Part], folded: Iterable[tuple[int, str]]) -> dict[str, Any]:
    """As the model's row keeps it. `view` is the round as it closed; `folded` has the numbers of the tasks whose updates
    were added up here, in the order of the additions, and the keys that the formula saw: a sum of float64 depends in its
    last bits on that order.
    """
    said = rules.document
    return {
        "rules": {key: said[key] for key in _RULES if key in said},
        "population": view.population,
        "asked": view.asked,
        "folds": view.folds,
        "fedk": FEDK,
        "plugins": [[part.name, part.version, part.distribution] for part in plugins],
        "folded": [list(one) for one in folded],
    }
