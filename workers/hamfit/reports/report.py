"""Writing a report: one HTML file that needs nothing else, complete or not there at all."""

from __future__ import annotations

from pathlib import Path

from hamfit.comparison import RolloutComparison
from hamfit.errors import SpecError
from hamfit.exports.files import publishing_file


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
    text = page(comparison, title or f"Rollouts of {comparison.rollouts.path.name}")
    with publishing_file(path, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
    return Path(path).absolute()
