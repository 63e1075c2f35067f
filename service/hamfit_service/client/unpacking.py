"""A tar archive that comes in pieces becomes a folder, and nothing outside of it."""

from __future__ import annotations

import os
import tarfile
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Thread

_END = bytes(2 * tarfile.BLOCKSIZE)
"""How a whole archive ends."""


class BadArchive(Exception):
    """An archive is cut off or damaged, or holds what no store does."""


class Unpacking:
    """Unpacks the one folder of an archive into an empty folder, while the archive arrives.

    A thread reads from a pipe what `write` puts into it, so that no copy of the archive is kept. Members are plain
    files and folders below that one folder; links, devices and paths that lead elsewhere are refused.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._error: Exception | None = None
        self._tail = b""
        source, sink = os.pipe()
        self._sink = os.fdopen(sink, "wb", buffering=0)
        self._thread = Thread(target=self._unpack, args=(source,), name="hamfit-unpacking", daemon=True)
        self._thread.start()

    def write(self, piece: bytes) -> None:
        """Take the next piece; raises what went wrong with those before."""
        self._tail = (self._tail + piece)[-len(_END) :]
        try:
            view = memoryview(piece)
            while view:
                view = view[self._sink.write(view) or 0 :]
        except BrokenPipeError:
            self._end()
            raise

    def finish(self) -> None:
        """Wait until all is unpacked; raises BadArchive or OSError when it cannot be, or is not whole."""
        self._end()
        if self._tail != _END:
            raise BadArchive("it ends too soon")

    def abandon(self) -> None:
        """Stop, whatever state it is in; what was unpacked stays."""
        with suppress(Exception):
            self._end()

    def _end(self) -> None:
        self._sink.close()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _unpack(self, source: int) -> None:
        with os.fdopen(source, "rb", buffering=0) as stream:
            try:
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    archive.extractall(self._folder, filter=_below_top)
                # what follows the end of the archive is padding; reading it lets the writer finish
                while stream.read(64 * 1024):
                    pass
            except tarfile.TarError as error:
                self._error = BadArchive(str(error) or type(error).__name__)
            except Exception as error:
                self._error = error


def _below_top(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
    """The member without the archive's one folder in its name; BadArchive for what a store does not hold."""
    if not (member.isfile() or member.isdir()):
        raise BadArchive(f"'{member.name}' is neither file nor folder")
    parts = PurePosixPath(member.name).parts
    if len(parts) < 2:
        if member.isdir():
            return None
        raise BadArchive(f"'{member.name}' lies beside its folder")
    return tarfile.data_filter(member.replace(name="/".join(parts[1:]), deep=False), destination)
