"""Results that wait for a commit: small ones in append-only segments, large ones each in a file of its own.

What is appended is in memory until the next sync writes it: a result whose model is committed before that needs no disk.

<root>/<project>/<session>/<round>-<n>.segment
<root>/<project>/<session>/<task>.<hash of the result id>.upload
<root>/.start  under which start of the system half uploads were written
"""

import asyncio
import errno
import hashlib
import itertools
import logging
import os
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from threading import Lock

from fedk.api.errors import Refused, StateError
from fedk.blobs import disk, mark, start
from fedk.blobs.disk import Bytes
from fedk.blobs.mark import UPLOAD
from fedk.blobs.reader import Held, Span
from fedk.blobs.spares import Spares
from fedk.blobs.upload import Ledger, Upload

SEGMENT, TRASH, START = ".segment", ".trash", ".start"

log = logging.getLogger("fedk.blobs")


@dataclass(slots=True)
class _File:
    """A file of the spool, by what it reserves and what still needs it."""

    project: str
    session: str
    round: int | None  # of a segment
    size: int  # bytes reserved; of a segment those written
    live: dict[int, int] = field(default_factory=dict)  # offset → size of the results that wait
    held: list[Held] = field(default_factory=list)  # appended and not yet written
    exists: bool = True
    handle: Upload | None = None


class Spool:
    """Bounded: `limit` bytes for each project. Any thread may call; only `sync` is awaited."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root.resolve(), limit
        self._lock = Lock()
        self._syncing = asyncio.Lock()
        self._files: dict[str, _File] = {}
        self._segments: dict[tuple[str, int], str] = {}  # that take further results
        self._uploads: dict[str, dict[str, None]] = {}  # their files, by task
        self._numbers = itertools.count()  # of segments: who forgets twice must not meet another's
        self._used: Counter[str] = Counter()
        self._dirty: dict[str, None] = {}  # files in the order of writing, then directories
        self._dirty_directories: dict[str, None] = {}
        self._full: dict[str, str] = {}  # why the last result was not taken, by project; "": for the disk's sake
        self._broken = ""  # why nothing can be promised any more
        self._ledger = Ledger(self._complete, self._synced, self._removed, self._failure)
        self._cleaner = ThreadPoolExecutor(1, "spool")
        self._spares = Spares(lambda path: self._cleaner.submit(path.unlink, missing_ok=True))
        self._make(self.root)
        self._make(self.root / TRASH)

    def used(self, project: str) -> int:
        """Bytes that the project's results reserve."""
        return self._used[project]

    def full(self, project: str) -> str:
        """Why there was no room for the project's last result; empty once one is taken."""
        return self._full.get("") or self._full.get(project, "")

    def append(self, session: str, number: int, data: Bytes, *, project: str = "default") -> Span:
        """A small result, into the segment of its session and round number. Durable after the next `sync`."""
        with self._lock:
            self._check()
            self._admit(project, size := memoryview(data).nbytes)
            path = self._segments.get((session, number)) or self._begin(project, session, number)
            file = self._files[path]
            held = Held(file.size, bytes(data))
            file.held.append(held)
            file.live[held.offset] = size
            self._reserve(file, held.offset + size)
            self._dirty[path] = None
            self._full.pop(project, None)
            return Span(path, held.offset, size, held)

    def upload(self, session: str, task: str, result_id: str, size: int, *, project: str = "default") -> Upload:
        """The file of a large result, where it stands. Its `size` bytes are reserved now."""
        with self._lock:
            self._check()
            path = self._upload_path(project, session, task, result_id)
            file = self._files.get(path) or _File(project, session, None, 0)
            if file.live and size != file.size:
                raise Refused("bad-hash", f"this result has {file.size:,} bytes here and {size:,} are announced now")
            self._admit(project, size - file.size)
            if file.handle is not None:
                file.handle.close()
            file.handle = self._open(Path(path), size, whole=bool(file.live))
            self._files[path] = file
            self._uploads.setdefault(task, {})[path] = None
            self._reserve(file, size)
            return file.handle

    def fresh(self, session: str, task: str, size: int, *, project: str = "default") -> Upload:
        """A file for what is written in one go: nobody goes on with it, and the same result written again has another,
        for this one may be waiting for its commit.
        """
        name = f" {secrets.token_hex(16)}"  # a result id that a client mints has no space
        return self.upload(session, task, name, size, project=project)

    def got(self, session: str, task: str, result_id: str, size: int, *, project: str = "default") -> int:
        """Bytes of that upload of `size` which are here; 0 for none."""
        path = self._upload_path(project, session, task, result_id)
        known = self._files.get(path)
        try:
            with FileIO(path) as file:
                return mark.progress(file.fileno(), size, whole=known is not None and bool(known.live))[0]
        except FileNotFoundError:
            return 0

    async def sync(self) -> None:
        """All appended results and complete uploads survive a power cut when this returns: one call for a batch."""
        async with self._syncing:  # or a second batch would pass while the first one's fsync is under way
            self._check()
            with self._lock:
                held = {path: self._begun(path) for path in self._dirty}
                files, self._dirty = self._dirty, {}
                directories, self._dirty_directories = self._dirty_directories, {}
            if not files and not directories:
                return
            try:
                await asyncio.to_thread(self._last, held, [*files, *directories])
            except BaseException:  # also cancelled: the thread may not be done
                with self._lock:  # but for those that were deleted meanwhile
                    self._dirty = {path: None for path in files if path in self._files} | self._dirty
                    self._dirty_directories = directories | self._dirty_directories
                raise
            with self._lock:
                self._written(held)

    def recover(self, spans: Iterable[Span], *, open_tasks: Collection[str] | None = None) -> None:
        """At start: `spans` are the results that rows still need. Cuts each segment behind its last one and never
        appends to it again; deletes files that nobody needs, but keeps half uploads (of `open_tasks`, where given) that
        were written since the system's start: nobody has synced them.
        """
        if not start.is_of(self.root / START):
            open_tasks = ()
        needed: dict[str, dict[int, int]] = {}
        for span in spans:
            needed.setdefault(self.place(span), {})[span.offset] = span.size
        with self._lock:
            for path in self.root.glob(f"{TRASH}/*"):
                path.unlink()
            for path in sorted(self.root.glob("*/*/*")):
                live = needed.get("/".join(path.parts[-3:]), {})
                if path.suffix == SEGMENT:
                    self._recover_segment(path, live)
                elif path.suffix == UPLOAD:
                    self._recover_upload(path, live, open_tasks)
            start.write(self.root / START)
            for directory in sorted(self.root.glob("*/*")):
                _remove_empty(directory)

    def place(self, span: Span) -> str:
        """For a row: the span's file, relative to the spool, so that a data directory can be moved."""
        return "/".join(span.path.rsplit(os.sep, 3)[1:])

    def locate(self, place: str, offset: int, size: int) -> Span:
        """The span that a row names."""
        return Span(str(self.root / place), offset, size)

    def forget(self, span: Span) -> None:
        """After the verdict: nobody needs this result (its whole span). A file goes with its last one."""
        with self._lock:
            file = self._files.get(span.path)
            if file is None:
                return
            file.live.pop(span.offset, None)
            if not file.live:
                self._remove(span.path)

    def release(self, span: Span) -> None:
        """No row names this result. What was appended is forgotten; an upload is a half one again, whose client may be
        under way to go on with it, and goes when its task is settled.
        """
        with self._lock:
            file = self._files.get(span.path)
            if file is not None and file.round is None:
                file.live.pop(span.offset, None)
                return
        self.forget(span)

    def expire(self, task: str) -> None:
        """The task is settled: delete its half uploads. Complete ones wait to be forgotten."""
        with self._lock:
            for path in list(self._uploads.get(task, ())):
                if not self._files[path].live:
                    self._remove(path)

    def drop(self, session: str, rounds_before: int | None = None) -> None:
        """All files of the session, or only its segments of earlier rounds."""
        with self._lock:
            for path, file in list(self._files.items()):
                if file.session == session and _before(file.round, rounds_before):
                    self._remove(path)
            if rounds_before is None:
                for directory in self.root.glob(f"*/{session}"):
                    self._cleaner.submit(_remove_empty, directory)

    def sweep(self) -> None:
        """Returns when all that was deleted is gone, or a spare. Blocking."""
        self._cleaner.submit(int).result()

    def close(self) -> None:
        """Close what is open and finish deleting; files stay."""
        with self._lock:
            for file in self._files.values():
                if file.handle is not None:
                    file.handle.close()
        self._spares.close()
        self._cleaner.shutdown()

    def _begin(self, project: str, session: str, number: int) -> str:
        directory = self.root / project / session
        names = (directory / f"{number}-{n}{SEGMENT}" for n in self._numbers)
        path = next(str(name) for name in names if str(name) not in self._files and not name.exists())
        self._files[path] = _File(project, session, number, 0, exists=False)
        self._segments[session, number] = path
        return path

    def _upload_path(self, project: str, session: str, task: str, result_id: str) -> str:
        """A result id comes from a client: hashed, it cannot name another directory."""
        name = f"{task}.{hashlib.sha256(result_id.encode()).hexdigest()[:32]}{UPLOAD}"
        return str(self.root / project / session / name)

    def _open(self, path: Path, size: int, *, whole: bool) -> Upload:
        self._make(path.parent)
        try:
            if path.exists() or not self._spares.take(size, path):
                path.touch()
            return Upload(path, size, self._ledger, whole=whole)
        except OSError as error:
            raise self._failure(str(path), error) from error

    def _begun(self, path: str) -> list[Held]:
        """What is to be written into a file, which is there from now on: who forgets it deletes it."""
        file = self._files[path]
        if not file.exists:
            self._make(Path(path).parent)
            try:
                Path(path).touch()
            except OSError as error:
                raise self._failed(path, error) from error
            file.exists = True
        return list(file.held)

    def _last(self, held: Mapping[str, Sequence[Held]], paths: Sequence[str]) -> None:
        """Write what is held, and make all of it last. Blocking."""
        for path, parts in held.items():
            if parts:
                with suppress(FileNotFoundError):  # forgotten meanwhile
                    self._write(path, parts)
        self._fsync(paths)

    def _write(self, path: str, parts: Sequence[Held]) -> None:
        """At its offset each, not at the end: what a full disk left of an earlier try is written over."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for one in parts:
                    disk.write_at(handle, one.data or b"", one.offset)
            finally:
                os.close(handle)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failed(path, error) from error

    def _failed(self, path: str, error: OSError) -> StateError:
        """Results that are taken cannot be written: their clients have no receipt."""
        failure = self._failure(path, error)
        return failure if isinstance(failure, StateError) else StateError(f"{failure}: clients send again")

    def _written(self, held: Mapping[str, Sequence[Held]]) -> None:
        """They are read from their files from now on."""
        for path, parts in held.items():
            if (file := self._files.get(path)) is not None:
                file.held = file.held[len(parts) :]
            for one in parts:
                one.data = None
        self._full.pop("", None)

    def _make(self, directory: Path) -> None:
        try:
            created = disk.create(directory)
        except OSError as error:
            raise self._failure(str(directory), error) from error
        self._dirty_directories.update(dict.fromkeys(map(str, [directory, *created])))
        if created:
            self._cleaner.submit(self._tidy)

    def _tidy(self) -> None:
        """Folders that sessions have left go: a combiner is not told of a session's end."""
        with self._lock:  # nobody is just making a file there
            for directory in self.root.glob("*/*"):
                _remove_empty(directory)

    def _admit(self, project: str, more: int) -> None:
        if self._used[project] + more > self.limit:
            raise self._no_room(
                project,
                f'{self._used[project]:,} bytes of project "{project}" wait for commits and {more:,} more are beyond '
                f"limits.spool_bytes = {self.limit:,}",
            )

    def _reserve(self, file: _File, size: int) -> None:
        self._used[file.project] += size - file.size
        file.size = size

    def _fsync(self, paths: Sequence[str]) -> None:
        try:
            for path in paths:
                with suppress(FileNotFoundError):  # forgotten meanwhile
                    disk.sync(Path(path))
        except OSError as error:
            # For good: the kernel reports a lost write once, and a second fsync would say that all is well.
            self._broken = (
                f"{path} cannot be made durable: {error.strerror}. Look at the disk and restart the server: "
                "clients send again what has no receipt"
            )
            raise StateError(self._broken) from error

    def _check(self) -> None:
        if self._broken:
            raise StateError(self._broken)

    def _failure(self, path: str, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._spares.clear()  # for who comes again
            return self._no_room("", f"no space left for {path}")
        return disk.failure(path, error)

    def _no_room(self, project: str, why: str) -> Refused:
        if project not in self._full:
            log.warning("spool.full: %s; clients keep their results and send them again", why)
        self._full[project] = why
        return Refused("spool-full", why)

    def _taken(self, project: str) -> None:
        for key in ("", project):
            self._full.pop(key, None)

    def _complete(self, path: str) -> None:
        with self._lock:
            if (file := self._files.get(path)) is not None:
                file.live = {0: file.size}
                self._taken(file.project)
                self._dirty[path] = None
                self._dirty_directories[str(Path(path).parent)] = None

    def _synced(self, path: str) -> None:
        with self._lock:
            self._dirty.pop(path, None)

    def _removed(self, path: str) -> None:
        with self._lock:
            self._remove(path)

    def _remove(self, path: str) -> None:
        file = self._files.pop(path, None)
        if file is None:
            return
        if file.handle is not None:
            file.handle.close()
        if file.exists:
            self._delete(Path(path), file)
        self._dirty.pop(path, None)
        self._used[file.project] -= file.size
        if file.round is None:
            self._remove_upload(path)
        elif self._segments.get((file.session, file.round)) == path:
            del self._segments[file.session, file.round]

    def _delete(self, path: Path, file: _File) -> None:
        """By the worker: 0.3 ms a MB, and 4 ms where the file system is writing; the caller may be the event loop."""
        if path.suffix == SEGMENT:  # whose name is taken while it is there
            self._cleaner.submit(path.unlink, missing_ok=True)
            return
        with suppress(FileNotFoundError):  # renamed first: the name may be used again before the worker gets there
            trash = path.rename(self.root / TRASH / secrets.token_hex(8))
            self._cleaner.submit(self._spares.put, trash, file.size)

    def _remove_upload(self, path: str) -> None:
        task = _task(path)
        del self._uploads[task][path]
        if not self._uploads[task]:
            del self._uploads[task]

    def _recover_segment(self, path: Path, live: dict[int, int]) -> None:
        if not live:
            path.unlink()
            return
        end = max(offset + size for offset, size in live.items())
        if path.stat().st_size > end:
            os.truncate(path, end)
        self._adopt(path, int(path.name.partition("-")[0]), end, live)

    def _recover_upload(self, path: Path, live: dict[int, int], open_tasks: Collection[str] | None) -> None:
        task = _task(str(path))
        if not live and open_tasks is not None and task not in open_tasks:
            path.unlink()
            return
        self._uploads.setdefault(task, {})[str(path)] = None
        self._adopt(path, None, live.get(0) or path.stat().st_size, live)

    def _adopt(self, path: Path, number: int | None, size: int, live: dict[int, int]) -> None:
        project, session = path.parts[-3:-1]
        self._files[str(path)] = file = _File(project, session, number, 0, live)
        self._reserve(file, size)


def _task(path: str) -> str:
    return Path(path).name.rsplit(".", 2)[0]


def _before(number: int | None, limit: int | None) -> bool:
    return limit is None or (number is not None and number < limit)


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):  # not empty, or gone
        directory.rmdir()
