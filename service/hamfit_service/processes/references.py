"""How jobs point to data: text that says where a dataset, a model or a file is.

seen.zarr, runs/1/seen.zarr   a path; a service looks for it in its data roots
file:///data/seen.zarr        the same as a URI
job:1f2e3d4c5b6a7980          what a job made
liquid@3, liquid              a version of a published model, and its newest version
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import StringConstraints

from hamfit.errors import SpecError

Reference: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
"""Text that points to a dataset, a model or a file."""

MODEL_NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9])?$"
"""Names of published models: lower-case letters, digits, and `_`, `.`, `-` within."""

JOB_ID_PATTERN = r"^[0-9a-f]{16}$"
"""Names of jobs."""

_JOB = re.compile(r"^job:([0-9a-f]{16})$")
_PUBLISHED = re.compile(r"^([a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9])?)@([1-9][0-9]{0,8})$")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What a job made."""

    job_id: str


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A version of a published model."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class PathReference:
    """A path, absolute or relative to wherever it is looked for."""

    path: Path


def parse_reference(text: str) -> JobOutput | PublishedModel | PathReference:
    """What a reference means. A bare NAME is a path here: only a registry can tell whether it is a model's name.

    Raises:
        SpecError: another scheme than file:, or a URI that names a host.

    """
    if found := _JOB.match(text):
        return JobOutput(found[1])
    if found := _PUBLISHED.match(text):
        return PublishedModel(found[1], int(found[2]))
    scheme = _SCHEME.match(text)
    if scheme is None:
        return PathReference(Path(text))
    if scheme[1].lower() == "job":
        raise SpecError(f"'{text}' is no name of a job; write job: and its 16 characters")
    if scheme[1].lower() != "file":
        raise SpecError(f"'{text}' is not a file; give a path, file:///PATH, job:ID or NAME@VERSION")
    rest = text[len("file:") :]
    if not rest.startswith("///") or rest.startswith("////") or "%" in rest or "?" in rest or "#" in rest:
        raise SpecError(f"'{text}' is not a plain file URI; write file:///PATH without host, query and escapes")
    return PathReference(Path(rest[2:]))


def local_path(kind: str, reference: str, /) -> Path:
    """The `Resolver` of the command line: a reference is a path of this machine."""
    if Path(reference).exists():
        return Path(reference)  # even one named like a reference of another kind
    found = parse_reference(reference)
    if not isinstance(found, PathReference):
        raise SpecError(f"'{reference}' is kept by a server; give --server, or the path of a {kind}")
    return found.path
