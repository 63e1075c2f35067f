"""Writing a report: one HTML file that needs nothing else, complete or not there at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hamfit.comparison import RolloutComparison
from hamfit.errors import SpecError
from hamfit.stores.disk import disk_errors


def write_report(comparison: RolloutComparison, path: str | Path, *, title: str | None = None) -> Path:
    """Write a comparison as one self-contained HTML file, replacing one that is there; returns its path.

    The figures are inline SVG; there are no scripts and no links to other files. The same comparison gives the same
    bytes. Raises SpecError when matplotlib is not installed, StoreError when the file cannot be written.
    """
    try:
        from hamfit.reports.page import page
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise SpecError(
            "reports are drawn by matplotlib, which is not installed: pip install hamfit[report]"
        ) from error
    path = Path(path).absolute()
    text = page(comparison, title or f"Rollouts of {comparison.rollouts.path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    return path


def _replace(path: Path, text: str) -> None:
    """Write beside the final place, then rename there."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner's eyes only; a report has the rights of any new file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
