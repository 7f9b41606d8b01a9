"""An aggregator whose result goes through the step of a mean-shaped one (`aggregator.then`)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedk.aggregation.formula import formula
from fedk.api.aggregator import AnyAggregator, Array, Config, MeanAggregator, Round, State, Update
from fedk.api.errors import PluginError


class Followed(MeanAggregator[Config]):
    """`first` makes a model of any shape; `then`, where there is one, takes that for the mean of its step."""

    def __init__(self, first: AnyAggregator[Any], then: MeanAggregator[Any] | None = None) -> None:
        super().__init__()
        self.first, self.then = first, then
        self.parts = (first,) if then is None else (first, then)
        declared = ("sets", "metrics", "sends", "inspect", "freezes", "once")
        vars(self).update({name: getattr(first, name) for name in declared})
        vars(self).update(
            of=first.of if isinstance(first, MeanAggregator) else "model",
            random=any(part.random for part in self.parts),
            sends={name: state for part in self.parts for name, state in part.sends.items()},
            shows=tuple(name for part in self.parts for name in part.shows),
        )

    def minimum(self) -> int:
        return max(part.minimum() for part in self.parts)

    def initial(self) -> Mapping[str, float]:
        return _union(part.initial() for part in self.parts)

    def initial_scalars(self) -> Mapping[str, float]:
        return _union(part.initial_scalars() for part in self.parts)

    def client_settings(self) -> Mapping[str, Any]:
        return _union(part.client_settings() for part in self.parts)

    def weight(self, u: Update, r: Round) -> float:
        return self.first.weight(u, self._seen_by_first(r))

    def scale(self, u: Update, r: Round) -> float:
        return self.first.scale(u, self._seen_by_first(r)) if isinstance(self.first, MeanAggregator) else 1.0

    def sums(self, u: Update, r: Round) -> Mapping[str, float]:
        return self.first.sums(u, self._seen_by_first(r)) if isinstance(self.first, MeanAggregator) else {}

    def step(self, x: Array, mean: Array, state: State, r: Round) -> tuple[Array, State]:
        result: Array = mean
        states: State = {}
        if isinstance(self.first, MeanAggregator):
            own = {name: state[name] for name in self.first.initial()}
            with formula(self.first, "step"):
                result, states = self.first.step(x, mean, own, self._seen_by_first(r))
        if self.then is None:
            return result, states
        own = {name: state[name] for name in self.then.initial()}
        moved = result - x if self.then.of == "delta" else result
        with formula(self.then, "step"):
            result, after = self.then.step(x, moved, own, self._seen_by_then(r))
        return result, {**states, **after}

    def finish(self, r: Round) -> Mapping[str, float]:
        scalars = self.first.finish(self._seen_by_first(r))
        return scalars if self.then is None else {**scalars, **self.then.finish(self._seen_by_then(r))}

    def enough(self, scalars: Mapping[str, float]) -> str:
        return next((text for part in self.parts if (text := part.enough(scalars))), "")

    def _seen_by_first(self, r: Round) -> Round:
        """Without the scalars of `then`: whoever gives back all that it sees would put the old ones back."""
        later = self.then.initial_scalars() if self.then is not None else {}
        return replace(r, scalars={name: value for name, value in r.scalars.items() if name not in later})

    def _seen_by_then(self, r: Round) -> Round:
        own = self.then.initial_scalars() if self.then is not None else {}
        return replace(r, scalars={name: value for name, value in r.scalars.items() if name in own})


def _union(mappings: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mapping in mappings:
        twice = found.keys() & mapping.keys()
        if twice:
            raise PluginError(f"both aggregators have {', '.join(sorted(twice))}: they cannot follow one another")
        found.update(mapping)
    return found
