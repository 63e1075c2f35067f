"""What all commands share: exit codes, the one JSON object, tables, and the progress line.

The rule is that standard output carries the result and nothing else. With `--json` the result is one JSON
object on one line; numbers that JSON cannot hold (NaN, infinity) become null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias

import typer
from typer.core import TyperGroup

from hamfit.errors import HamfitError
from hamfit.progress import Event, Progress
from hamfit_service.jsonable import jsonable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

BAD_INPUT = 2
"""Exit code for input or options that the user can mend; the same as for wrong usage."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 + SIGINT)."""

JsonFlag: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")
]
"""The option that every command has."""


class HamfitGroup(TyperGroup):
    """A group of commands that turns the library's exceptions into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HamfitError as error:
            typer.echo(f"hamfit: {one_line(str(error))}", err=True)
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt as error:
            typer.echo("hamfit: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise  # not about a file the user gave; a traceback says more
            reason = error.strerror[:1].lower() + error.strerror[1:]
            typer.echo(
                f"hamfit: {error.filename}: {reason}; check the path, its permissions and the disk's space",
                err=True,
            )
            raise typer.Exit(BAD_INPUT) from error


def one_line(text: str) -> str:
    """The text without line breaks."""
    return " ".join(text.split())


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write a warning as one sentence on standard error; a replacement for `warnings.showwarning`."""
    del category, filename, lineno, file, line
    warn(str(message))


def warn(sentence: str) -> None:
    """Write one sentence on standard error, marked as a warning of hamfit."""
    typer.echo(f"hamfit: warning: {one_line(sentence)}", err=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Write `result` as one JSON object on one line of standard output."""
    sys.stdout.write(json.dumps(jsonable(result), allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Write names and values as a table of two columns on standard output."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(format_value(value)))
    _console(stderr=False).print(table)


def print_columns(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows of several values as a table on standard output."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0)  # the first is what other commands are given
    for row in rows:
        table.add_row(*(Text(format_value(value)) for value in row))
    _console(stderr=False).print(table)


def split_words(text: str | None) -> list[str]:
    """The words of a list with commas, each once."""
    words = (word.strip() for word in (text or "").split(","))
    return list(dict.fromkeys(word for word in words if word))


def flat_rows(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Names and values of a nested mapping, one row per leaf, joined with dots."""
    for name, value in result.items():
        if isinstance(value, Mapping) and value:
            yield from flat_rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def format_value(value: object) -> str:
    """A value as people read it: errors in three digits, counts with separators, absent values as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value) or "-"
    return str(value)


def format_bytes(count: int | float) -> str:
    """A size with a binary unit, such as 1.5 GiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024.0:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024.0
    return f"{size:.1f} TiB"


def format_seconds(seconds: float | None) -> str:
    """A duration such as 3.2 s or 1:05:09; a dash when unknown."""
    if seconds is None:
        return "-"
    if seconds < 60.0:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_with_unit(name: str, value: object) -> str:
    """A value whose name tells its unit: bytes, resident memory or seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "bytes" in name or "rss" in name:
            return format_bytes(value)
        if "seconds" in name:
            return format_seconds(float(value))
    return format_value(value)


def progress_text(event: Event) -> str:
    """One line about an event: phase, tasks, rows or steps per second, time to go, peak memory."""
    parts = [f"{event.phase} {event.done}/{event.total}" if event.total else event.phase]
    if event.rows:
        parts.append(f"{event.rows_per_second:,.0f} {event.unit}/s")
    remaining = event.remaining_seconds
    if remaining is not None and remaining > 0.0:
        parts.append(f"ETA {format_seconds(remaining)}")
    elif event.total and event.done >= event.total:
        parts.append(format_seconds(event.seconds))
    if event.peak_bytes:
        parts.append(f"peak {format_bytes(event.peak_bytes)}")
    return " · ".join(parts)


class LiveLine:
    """A line on standard error that says what is going on; here, one that says nothing."""

    def show(self, text: str) -> None:
        """What is going on now, in place of what was."""

    def keep(self, text: str) -> None:
        """A line that stays."""


class _LogLine(LiveLine):
    """Where standard error is no terminal, only what stays is written."""

    def keep(self, text: str) -> None:
        typer.echo(text, err=True)


class _TerminalLine(LiveLine):
    """On a terminal."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status

    def show(self, text: str) -> None:
        from rich.text import Text

        self._status.update(Text(text))

    def keep(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


@contextmanager
def live_line(*, quiet: bool = False) -> Iterator[LiveLine]:
    """A line that changes on a terminal, and a log elsewhere."""
    if quiet:
        yield LiveLine()
        return
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _LogLine()
        return
    with console.status("starting") as status:
        yield _TerminalLine(console, status)


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """A listener that shows progress: a live line on a terminal, one line per finished phase elsewhere."""
    with live_line() as line:

        def show(event: Event, /) -> None:
            text = progress_text(event)
            line.show(text)
            if event.total and event.done >= event.total:
                line.keep(text)

        yield show


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=False)
