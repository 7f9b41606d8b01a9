"""The grid: where each element stands in an accumulator, and what is done with it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase

from fedk.aggregation.numbers import DType, is_float
from fedk_protocol.codec import Layout, Tensor

PLAIN = ("*running_mean", "*running_var", "*num_batches_tracked")
"""Float tensors that are averaged only, unless a session says otherwise: a server's step makes no sense of them."""

_KNOWN = 8  # answers that are kept; a stranger chooses his header's text, and it may be long


class Kind(Enum):
    """What is done with a tensor's elements."""

    STEPPED = auto()  # floats: averaged, then the formula's step
    PLAIN = auto()  # floats, averaged only
    WHOLE = auto()  # integers
    TRUTH = auto()  # booleans

    @property
    def floats(self) -> bool:
        return self in (Kind.STEPPED, Kind.PLAIN)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours of one kind and dtype: side by side in a blob, in its base and in an accumulator.

    Work goes by runs and blocks of them, not by tensors: a model of 300 small tensors costs what one of its size does.
    """

    kind: Kind
    dtype: DType
    offset: int  # in the blob
    base_offset: int
    at: int  # in the accumulator
    count: int  # elements
    tensors: tuple[Tensor, ...]

    def goes_on(self, other: "Run", *, joined: bool) -> bool:
        """Whether `other` begins where this ends. Integers and booleans stay apart: they have few elements."""
        size = self.count * self.dtype.itemsize
        return (
            self.kind.floats
            and (other.kind is self.kind or (joined and other.kind.floats))
            and self.dtype == other.dtype
            and (self.offset + size, self.base_offset + size) == (other.offset, other.base_offset)
            and self.at + self.count == other.at
        )

    def tensor_at(self, element: int) -> tuple[Tensor, int]:
        """The tensor that an element of this run belongs to, and that tensor's first element."""
        offset = self.offset + element * self.dtype.itemsize
        tensor = self.tensors[bisect_right(self.tensors, offset, key=lambda tensor: tensor.offset) - 1]
        return tensor, (tensor.offset - self.offset) // self.dtype.itemsize


class Grid:
    """Of one base model. Accumulators count elements in the order of the base's bytes."""

    def __init__(self, base: Layout, plain: Sequence[str] = PLAIN) -> None:
        self.base = base
        self._kinds = {tensor.name: _kind(tensor, plain) for tensor in base.tensors}
        self._at, self.size = {}, 0
        for tensor in base.tensors:
            self._at[tensor.name] = self.size
            self.size += tensor.size
        self.not_stepped = frozenset(name for name, kind in self._kinds.items() if kind is not Kind.STEPPED)
        self._known: dict[tuple[bytes, bytes, bool], tuple[Run, ...]] = {}
        self.runs = self.line_up(base)

    def kind(self, name: str) -> Kind:
        return self._kinds[name]

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Tensors of a kind, in the order of the base's bytes."""
        return tuple(name for name, its in self._kinds.items() if its is kind)

    def place(self, name: str) -> slice:
        """A tensor's elements in an accumulator."""
        at = self._at[name]
        return slice(at, at + self.base[name].size)

    def line_up(self, blob: Layout, base: Layout | None = None, *, joined: bool = False) -> tuple[Run, ...]:
        """How a blob's bytes lie beside those of a base: the grid's own, or another one with the same tensors.

        `blob` has tensors of the grid's base, with its dtypes and shapes. Joined runs may hold floats of both kinds.
        A round sees few headers: answers are kept.
        """
        base = base or self.base
        key = (blob.header, base.header, joined)
        runs = self._known.get(key)
        if runs is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            tensors = (self._run(tensor, base[tensor.name]) for tensor in blob.tensors)
            runs = self._known[key] = tuple(_joined(tensors, joined=joined))
        return runs

    def _run(self, tensor: Tensor, base: Tensor) -> Run:
        at = self._at[tensor.name]
        return Run(self._kinds[tensor.name], tensor.dtype, tensor.offset, base.offset, at, tensor.size, (tensor,))


def _kind(tensor: Tensor, plain: Sequence[str]) -> Kind:
    if not is_float(tensor.dtype):
        return Kind.TRUTH if tensor.dtype.kind == "b" else Kind.WHOLE
    return Kind.PLAIN if any(fnmatchcase(tensor.name, pattern) for pattern in plain) else Kind.STEPPED


def _joined(runs: Iterable[Run], *, joined: bool) -> Iterator[Run]:
    group: list[Run] = []
    for run in runs:
        if group and not group[-1].goes_on(run, joined=joined):
            yield _one(group)
            group = []
        group.append(run)
    if group:
        yield _one(group)


def _one(group: list[Run]) -> Run:
    first = group[0]
    count = sum(run.count for run in group)
    tensors = tuple(tensor for run in group for tensor in run.tensors)
    return Run(first.kind, first.dtype, first.offset, first.base_offset, first.at, count, tensors)
