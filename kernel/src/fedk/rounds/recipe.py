"""A recipe: what a replay needs to know of how a model was made, beside its base, its updates and the state."""

from typing import Any

from fedk.api.aggregator import Round
from fedk.rounds.rules import Rules

_RULES = ("mode", "async", "aggregator", "codec", "deterministic")
"""Rules that the model depends on: a session that is resumed may have others from then on."""


def recipe(rules: Rules, view: Round) -> dict[str, Any]:
    """As the model's row keeps it; `view` is the round as it closed."""
    said = rules.model_dump(mode="json", by_alias=True)
    return {
        "rules": {key: said[key] for key in _RULES if key in said},
        "population": view.population,
        "asked": view.asked,
        "folds": view.folds,
    }
