"""A contribution: an accepted update on its way into a model, and how its blobs are opened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedk.aggregation.accumulator import Sums
from fedk.aggregation.agreement import check_tensors
from fedk.aggregation.grid import Grid
from fedk.aggregation.model import Model
from fedk.aggregation.record import record
from fedk.aggregation.terms import Terms
from fedk.api.aggregator import Update
from fedk.api.errors import BlobError, Refused
from fedk.blobs.reader import Span
from fedk_protocol.codec import Layout


@record(frozen=True, slots=True)
class Contribution:
    """An accepted update: the formula's numbers, where its bytes are, and the model that it was trained on."""

    update: Update
    terms: Terms
    blobs: Mapping[str, Span]  # by tensor set
    base: Model


@dataclass(frozen=True, slots=True)
class Sum:
    """What a combiner has added up: the numbers of its updates, and where its sums of tensors are."""

    sums: Sums
    blobs: Mapping[str, Span]  # by part: the tensor sets, and the ranges of integers


class Contributions:
    """Opens the blobs of one round's. A header that was seen before is not parsed again."""

    def __init__(self, grid: Grid, sets: Iterable[str] = ("model",)) -> None:
        self.sets = tuple(sets)
        self._grid = grid
        self._likely: dict[str, Layout] = dict.fromkeys(self.sets, grid.base)

    def open(self, contribution: Contribution, name: str) -> Model:
        """A tensor set. BlobError when its bytes are missing, shorter or not those of an update to this model."""
        if name not in contribution.blobs:
            raise BlobError(f"the tensor set {name} of update {contribution.update.key} is missing")
        model = Model.open(contribution.blobs[name], self._likely[name])
        if model.layout is not self._likely[name]:
            try:
                self._check(model.layout, name)
            except Refused as error:
                model.close()
                raise BlobError(
                    f"update {contribution.update.key} is damaged where it is kept: {error.detail}"
                ) from error
            self._likely[name] = model.layout
        return model

    def _check(self, layout: Layout, name: str) -> None:
        check_tensors(layout, self._grid.base, optional=() if name == "model" else self._grid.not_stepped)
