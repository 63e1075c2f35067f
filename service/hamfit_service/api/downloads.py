"""Sending files and stores: a file as it is, a folder as a tar archive made while it is sent."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hamfit_service.jobs.results import Found, ResultNotFound

TAR = "application/x-tar"
BINARY = "application/octet-stream"

Pieces: TypeAlias = Generator[bytes, None, None]

_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}
_PIECE = 256 * 1024
#: A report shows pictures and style of its own, runs nothing, loads nothing and is nobody's frame but ours.
_REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'"
)


def send(found: Found) -> Response:
    """A file, or a folder as a tar archive."""
    if found.is_folder:
        headers = {"Content-Disposition": _attachment(f"{found.name}.tar")}
        return _Stream(_archive(found.path, found.name), headers=headers, media_type=TAR)
    try:
        # closed again: an answer that is never begun, as to HEAD, must leave nothing open
        with os.fdopen(_open(found.path), "rb", buffering=0) as file:
            facts = os.fstat(file.fileno())
    except OSError as error:
        raise ResultNotFound(f"'{found.name}' was removed this moment; see the list of results") from error
    media_type = _media_type(found.name)
    headers = {"Content-Length": str(facts.st_size)}
    if media_type.startswith("text/html"):
        headers |= {"Content-Security-Policy": _REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    else:
        headers["Content-Disposition"] = _attachment(found.name)
    return _Stream(_file(found.path, facts), headers=headers, media_type=media_type)


def send_content(content: bytes, name: str) -> Response:
    """A file that is made for its client."""
    return Response(content, headers={"Content-Disposition": _attachment(name)}, media_type=_media_type(name))


def _media_type(name: str) -> str:
    return _TYPES.get(Path(name).suffix, BINARY)


class _Stream(StreamingResponse):
    """Sends pieces, and closes what they are read from as soon as its client has left."""

    def __init__(self, pieces: Pieces, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._opened = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._opened.close()


def _file(path: Path, promised: os.stat_result) -> Pieces:
    """The content of a file of which the size is told already."""
    descriptor = _open(path)
    if not os.path.samestat(os.fstat(descriptor), promised):
        os.close(descriptor)
        raise OSError("a file was replaced before it was sent")
    yield from _pieces(descriptor, promised.st_size)


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no file")
    return descriptor


def _pieces(descriptor: int, size: int) -> Pieces:
    """Exactly ``size`` bytes; OSError when there are fewer, so that the connection breaks and half is not whole."""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        left = size
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise OSError("a file became shorter while it was sent")
            left -= len(piece)
            yield piece


def _archive(folder: Path, name: str) -> Pieces:
    """A tar archive of a folder, in pieces: small files are sent together, large ones in parts. No link is followed."""
    pending = bytearray()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        for entry in sorted(names):
            path = Path(parent) / entry
            if entry.startswith(".") or path.is_symlink():
                continue
            descriptor = _open(path)
            facts = os.fstat(descriptor)
            pending += _header(f"{name}/{path.relative_to(folder).as_posix()}", facts)
            for piece in _pieces(descriptor, facts.st_size):
                pending += piece
                if len(pending) >= _PIECE:
                    yield bytes(pending)
                    pending.clear()
            pending += bytes(-facts.st_size % tarfile.BLOCKSIZE)
    yield bytes(pending) + bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, facts: os.stat_result) -> bytes:
    """The head of a member; who owns the file on the server is nobody's business."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = facts.st_size, int(facts.st_mtime), 0o644
    return member.tobuf(tarfile.PAX_FORMAT)


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
