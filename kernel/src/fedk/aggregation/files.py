"""Files of any number of updates, of which a few are open."""

from collections import OrderedDict

from fedk.blobs.reader import Reader, Span

_MOST = 128  # a process may have 1,024 files open by default, and clients are connections too


class Files:
    """Reads spans by pread; small updates share a file, large ones have their own. For one thread at a time."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Reader] = OrderedDict()

    def read_into(self, span: Span, at: int, buffer: memoryview) -> None:
        """Fill `buffer` from position `at` of the span. BlobError when the file is missing or shorter."""
        if (data := span.memory) is not None:
            buffer[:] = data[at : at + buffer.nbytes]
            return
        self._reader(span).read_into(span.offset + at, buffer)

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _reader(self, span: Span) -> Reader:
        reader = self._open.get(span.path)
        if reader is not None and span.offset + span.size <= reader.size:
            self._open.move_to_end(span.path)
            return reader
        if reader is not None:  # the file has grown since
            self._open.pop(span.path).close()
        opened = self._open[span.path] = Reader(Span(span.path, 0, span.offset + span.size))
        if len(self._open) > _MOST:
            self._open.popitem(last=False)[1].close()
        return opened
