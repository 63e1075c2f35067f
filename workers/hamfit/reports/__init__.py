"""Reports for people: comparisons as self-contained HTML. Drawing needs the extra `report` (matplotlib)."""

from __future__ import annotations

from hamfit.reports.report import write_report

__all__ = ["write_report"]
