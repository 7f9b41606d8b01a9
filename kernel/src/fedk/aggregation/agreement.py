"""Whether an update's tensors are those of the model, said so that a person can act on it."""

from collections.abc import Collection, Iterable

from fedk.api.errors import Refused
from fedk_protocol.codec import Layout, Reason, Tensor
from fedk_protocol.layout import shown

_LISTED = 3


def check_tensors(found: Layout, wanted: Layout, *, optional: Collection[str] = (), where: str = "") -> None:
    """Names, shapes and dtypes as wanted, in any order; `optional` names may be missing. `where` is put before the text."""
    names = [tensor.name for tensor in wanted.tensors]
    check_names([tensor.name for tensor in found.tensors], names, optional=optional, where=where)
    for tensor in found.tensors:
        _check(tensor, wanted[tensor.name], where)


def check_names(
    found: Collection[str], wanted: Collection[str], *, optional: Collection[str] = (), where: str = ""
) -> None:
    """The same names, in any order."""
    if found == wanted:
        return
    have, known = set(found), set(wanted)
    missing = [name for name in wanted if name not in have and name not in optional]
    unexpected = [name for name in found if name not in known]
    said = [f"{word} {_listed(names)}" for word, names in (("missing", missing), ("unexpected", unexpected)) if names]
    if said:
        raise Refused(Reason.BAD_NAMES, where + ", ".join(said))


def _check(tensor: Tensor, wanted: Tensor, where: str) -> None:
    name = where + shown(tensor.name)
    if tensor.shape != wanted.shape:
        raise Refused(Reason.BAD_SHAPE, f"{name} is {list(tensor.shape)}, the model's is {list(wanted.shape)}")
    if tensor.dtype != wanted.dtype:
        raise Refused(Reason.BAD_DTYPE, f"{name} is {tensor.dtype}, the model's is {wanted.dtype}")


def _listed(names: Iterable[str]) -> str:
    words = [shown(name) for name in names]
    more = len(words) - _LISTED
    return ", ".join(words[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")
