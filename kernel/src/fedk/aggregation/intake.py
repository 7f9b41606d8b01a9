"""Intake: a result's bytes, checked as they arrive. All refusals happen here; the fold refuses nothing."""

import hashlib
from collections.abc import Mapping
from typing import Protocol

from fedk.aggregation.agreement import check_names, check_tensors
from fedk.aggregation.expected import Expected
from fedk.aggregation.grid import Grid
from fedk.aggregation.inspection import Inspection
from fedk.aggregation.record import record
from fedk.api.errors import Refused
from fedk_protocol.codec import HEADER_MAX, BadBlob, Layout, NeedMore, Reason, read_layout

_HEADER = 1 << 20


@record(frozen=True, slots=True)
class Place:
    """A blob among a result's bytes."""

    offset: int
    size: int
    sha256: bytes


@record(frozen=True, slots=True)
class Facts:
    """What is known of a result once its last byte has passed."""

    sha256: bytes  # of the blobs' bytes in the order of their sorted names
    blobs: Mapping[str, Place]
    norm: float  # ‖delta‖₂ over the float tensors
    max_abs: float  # largest |element| of the model's float tensors


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Intake:
    """One pass over a result: the concatenation of its blobs in the order of their sorted names, in chunks of any size.

    Holds headers, never data. Each call may raise Refused; the result is lost then. Blocks: about 1 ms a megabyte.
    """

    def __init__(self, expected: Expected, sizes: Mapping[str, int]) -> None:
        check_names(tuple(sorted(sizes)), expected.blobs, where="blobs: ")
        self.size = sum(sizes.values())
        self._blobs = [_Blob(expected, name, sizes[name]) for name in sorted(sizes)]
        self._at = self._got = 0
        self._sha256: _Hash | None = hashlib.sha256() if len(sizes) > 1 else None  # of one blob: its own

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        view = memoryview(data).cast("B")
        self._got += len(view)
        if self._got > self.size:
            raise Refused(Reason.TOO_LARGE, f"more bytes came than the {self.size:,} announced")
        if self._sha256 is not None:
            self._sha256.update(view)
        while view:
            blob = self._blobs[self._at]
            part = view[: blob.missing]
            blob.feed(part)
            view = view[len(part) :]
            self._at += not blob.missing

    def finish(self) -> Facts:
        """After the last byte."""
        if self._got != self.size:
            raise Refused(Reason.BAD_HASH, f"{self._got:,} bytes came of the {self.size:,} announced")
        places, offset = {}, 0
        for blob in self._blobs:
            places[blob.name] = Place(offset, blob.size, blob.finish())
            offset += blob.size
        model = next(blob for blob in self._blobs if blob.name == "model").inspection
        norm, peak = (model.norm, model.max_abs) if model else (0.0, 0.0)
        whole = places["model"].sha256 if self._sha256 is None else self._sha256.digest()
        return Facts(whole, places, norm, peak)


class _Blob:
    """First its head, then each chunk of its data straight to the inspection."""

    def __init__(self, expected: Expected, name: str, size: int) -> None:
        self.name, self.size, self.missing = name, size, size
        self.inspection: Inspection | None = None
        self._expected = expected
        self._sha256: _Hash = hashlib.sha256()
        self._head = bytearray()
        self._wanted = min(8, size)
        self._layout: Layout | None = None

    def feed(self, data: memoryview) -> None:
        self.missing -= len(data)
        self._sha256.update(data)
        if self._layout is None and not self._head:
            data = self._without_base_head(data)
        while self._layout is None and data:
            part = data[: self._wanted - len(self._head)]
            self._head += part
            data = data[len(part) :]
            if len(self._head) == self._wanted:
                self._read_head()
        if self.inspection is not None:
            self.inspection.feed(data)

    def finish(self) -> bytes:
        if self._layout is None:
            self._read_head()
        if self.inspection is not None:
            self.inspection.finish()
        return self._sha256.digest()

    def _without_base_head(self, data: memoryview) -> memoryview:
        """The rest, where all of the base's header stands first: the same model's, as a rule."""
        base = self._expected.base
        header = base.layout.header if base is not None and self.size == base.layout.size else b""
        if base is None or not header or data[: len(header)] != header:
            return data
        self._begin(base.layout)
        return data[len(header) :]

    def _read_head(self) -> None:
        try:
            layout = self._parsed()
        except NeedMore as more:
            self._wanted = more.size
            return
        except BadBlob as error:
            raise Refused(error.reason, f"{self._where}{error}") from error
        self._begin(layout)

    @property
    def _where(self) -> str:
        return "" if self.name == "model" else f"set {self.name}: "

    def _begin(self, layout: Layout) -> None:
        """The head is read: all that follows is data."""
        expected, where = self._expected, self._where
        self._layout, self._head = layout, bytearray()
        grid = expected.grid or Grid(layout, expected.plain)
        if expected.grid is not None and layout is not grid.base:
            # a set has no use for what is not stepped: batch norm's counters have no control variates
            optional = () if self.name == "model" else grid.not_stepped
            check_tensors(layout, grid.base, optional=optional, where=where)
        if expected.inspect:
            self.inspection = Inspection(expected, grid, layout, delta=self.name == "model", where=where)

    def _parsed(self) -> Layout:
        base = self._expected.base
        if base is not None and self.size == base.layout.size and self._head == base.layout.header:
            return base.layout
        # a header that is read holds up the event loop: one far longer than the base's is not worth it
        limit = HEADER_MAX if base is None else min(HEADER_MAX, max(_HEADER, 4 * len(base.layout.header)))
        return read_layout(bytes(self._head), self.size, limit=limit)
