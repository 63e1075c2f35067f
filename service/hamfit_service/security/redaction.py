"""Messages for clients, without the places of files on this machine.

What lies in a data root is named as a client names it, what belongs to a job or a model by their references, and of any
other absolute path only the last name is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

# Bounded: a long word must not be searched again from each of its letters.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,20}"
_REST = r"""[^\s'"`]*"""
# https://HOST/PATH is no place on this machine, nor are the interface's own paths; file: and sqlite:///PATH are one.
_ELSEWHERE = rf"""(?!file:){_SCHEME}://[^\s'"`/]+{_REST}"""
# A path begins where no name, dot or slash is before it: a/b and ./b are relative, and stay.
_START = r"(?<![\w./~-])"
_INTERFACE = rf"{_START}/v1/(?!\S*\.\.){_REST}"
_LOCAL = rf"""{_SCHEME}://[^\s'"`/]*"""
_QUOTED = r"""(?<=')/[^'\n]+(?=')|(?<=")/[^"\n]+(?=")"""


class Redaction:
    """Takes absolute paths out of text; may be used from any thread."""

    def __init__(self, data_roots: Sequence[Path], root: Path) -> None:
        rules: dict[str, Callable[[str], str]] = {}
        for name in _names(root):
            rules.setdefault(f"{name}/jobs", _of_job)
            rules.setdefault(f"{name}/models", _of_model)
            rules.setdefault(name, _last_name)
        for data_root in data_roots:
            for name in _names(data_root):
                rules.setdefault(name, _relative)
        # the innermost folder names a path best
        self._rules = sorted(rules.items(), key=lambda rule: -len(rule[0]))
        # known folders are spelt out, for only of them is it known that a space belongs to the path
        known = [rf"{re.escape(name)}(?![\w.-]){_REST}" for name, _ in self._rules if name]
        path = "|".join([*known, _QUOTED, rf"/{_REST}"])
        self._place = re.compile(rf"(?P<kept>{_ELSEWHERE}|{_INTERFACE})|(?:{_LOCAL}|{_START})(?P<path>{path})")

    def __call__(self, text: str) -> str:
        """The text, every absolute path in it made short."""
        return self._place.sub(lambda found: found["kept"] or self._shortened(found["path"]), text)

    def _shortened(self, path: str) -> str:
        path = re.sub("/+", "/", path)
        if not path.strip("/"):
            return path
        if "/../" not in f"{path}/":
            for name, short in self._rules:
                if path == name or path.startswith(f"{name}/"):
                    return short(path[len(name) :].strip("/")) or _last_name(path)
        return _last_name(path)


def _names(folder: Path) -> Sequence[str]:
    """A folder as it was given, and without links; the root of the file system is an empty name."""
    return [str(folder).rstrip("/"), os.path.realpath(folder).rstrip("/")]


def _relative(rest: str) -> str:
    return rest or "."


def _last_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _of_job(rest: str) -> str:
    """ID/results/model -> job:ID/model."""
    job, _, inner = rest.partition("/")
    inner = inner.removeprefix("results").lstrip("/")
    return f"job:{job}" + (f"/{inner}" if inner else "") if job else ""


def _of_model(rest: str) -> str:
    """NAME/JOB/file -> NAME/file."""
    name, _, inner = rest.partition("/")
    inner = inner.partition("/")[2]
    return name + (f"/{inner}" if inner else "")
