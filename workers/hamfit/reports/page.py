"""The page of a report: its sections, tables and style. All text from outside is escaped where it enters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain
from typing import Any

import matplotlib

from hamfit.comparison import RolloutComparison
from hamfit.comparison.liquids import LiquidComparison
from hamfit.comparison.summary import OBSERVABLES
from hamfit.reports.canvas import STYLE
from hamfit.reports.figures import Panel, Panels
from hamfit.reports.text import UNKNOWN, counted, facts, number, table, unit, with_error

MOST_ROWS = 40
"""Rollouts listed one by one."""

_CSS = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dde2e9; --blue: #1762a8; --warn: #fdf3e4; --warnline: #c8801e; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.65rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 38px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); }
p { margin: 0 0 10px; max-width: 75ch; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(165px, 1fr)); gap: 10px; margin: 22px 0 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 1.3rem; font-weight: 600; line-height: 1.35; white-space: nowrap; }
.card span { color: var(--soft); font-size: .85rem; line-height: 1.3; display: block; }
.warnings { background: var(--warn); border-left: 4px solid var(--warnline); border-radius: 4px; padding: 10px 16px;
  margin: 20px 0 0; } .warnings ul { margin: 0; padding-left: 1.1em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 18px 22px; }
figure { margin: 0; break-inside: avoid; } figure h3 { font-size: .98rem; margin: 0 0 2px; font-weight: 600; }
figure svg { width: 100%; height: auto; display: block; } svg text { font-family: inherit !important; }
figcaption { color: var(--soft); font-size: .84rem; line-height: 1.4; margin-top: 4px; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; font-size: .88rem; } th, td { padding: 4px 12px 4px 0; text-align: right;
  white-space: nowrap; border-bottom: 1px solid var(--line); } th { font-weight: 600; color: var(--soft); }
.text { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0 0 12px; font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 4px 40px; }
.columns h3 { font-size: .98rem; margin: 0 0 6px; }
@media print { main { max-width: none; padding: 0; } body { font-size: 10pt; } h2 { break-after: avoid; }
  .grid { grid-template-columns: repeat(2, 1fr); } .scroll { overflow: visible; } th, td { padding-right: 8px; } }
"""


def page(comparison: RolloutComparison, title: str) -> str:
    """The whole report as HTML."""
    numbers = comparison.to_dict()
    panels = Panels(comparison)
    name, ref = comparison.rollouts.path.name, comparison.reference.path.name
    with matplotlib.rc_context(STYLE):
        parts = [
            f"<h1>{escape(title)}</h1>\n",
            f'<p class="soft">Rollouts {escape(name)} against the reference {escape(ref)}.</p>\n',
            _warnings(comparison.warnings),
            _cards(numbers),
            _section("Errors against time", panels.errors(), _error_words(numbers)),
            _section("Conservation", panels.conservation(), _conservation_words(numbers), beside=True),
            "" if comparison.liquid is None else _liquid(panels, comparison.liquid, numbers["liquid"]),
            _section("The model", chain(panels.forces(), map(panels.potential, comparison.pair_curves))),
            _rollouts(numbers),
            _sources(comparison, numbers),
        ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{''.join(parts)}</main>\n"
        "</body>\n</html>\n"
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text[:1].upper() + text[1:])}.</li>\n" for text in warnings)
    return f'<div class="warnings" role="note"><ul>\n{items}</ul></div>\n'


def _cards(numbers: dict[str, Any]) -> str:
    errors, drift, forces = numbers["errors"], numbers["drift"], numbers["forces"]
    cards = []
    if errors is not None:
        cards.append((number(errors["zerr"]), "Zerr, geometric mean"))
        cards.append((number(errors["herr"]), f"Herr, {errors['energy_source']} energies"))
    cards.append((number(drift["energy_fluctuation"]), "fluctuation of the energy, worst rollout"))
    trend = drift["energy_trend"]
    if trend is not None:
        cards.append((f"{number(trend['in_standard_errors'], 2)} s.e.", "trend of the energy, in its standard errors"))
    if forces is not None:
        cards.append((number(forces["relative_error"]), "relative error of the forces"))
    share = numbers["extrapolated_share"]
    if share is not None:
        cards.append((f"{number(100.0 * share, 2)} %", "of distances outside the training range"))
    if numbers["liquid"] is not None and not numbers["liquid"]["still_following"]:
        known = [o["p_value"] for o in numbers["liquid"]["observables"] if o["p_value"] is not None]
        if known:
            cards.append((number(min(known), 2), f"smallest p-value of {len(known)} observables"))
    items = "".join(f"<div class='card'><b>{escape(a)}</b><span>{escape(b)}</span></div>\n" for a, b in cards)
    return f'<div class="cards">\n{items}</div>\n'


def _section(title: str, panels: Iterable[Panel], words: str = "", *, beside: bool = False) -> str:
    above, note = ("", _paragraph(words)) if beside else (_paragraph(words), "")
    grid = _grid(panels, note)
    return f"<section><h2>{escape(title)}</h2>\n{above}{grid}</section>\n" if grid else ""


def _paragraph(words: str) -> str:
    return f"<p>{escape(words)}</p>\n" if words else ""


def _grid(panels: Iterable[Panel], note: str = "") -> str:
    figures = "".join(
        f"<figure><h3>{escape(panel.title)}</h3>\n{panel.svg}\n<figcaption>{escape(panel.caption)}</figcaption></figure>\n"
        for panel in panels
    )
    return f'<div class="grid">\n{figures}{note}</div>\n' if figures else ""


def _error_words(numbers: dict[str, Any]) -> str:
    errors = numbers["errors"]
    if errors is None:
        return ""
    zeros = {name: count for name, count in errors["zeros"].items() if count}
    left_out = ", ".join(f"{number(count)} of {name.capitalize()}" for name, count in zeros.items())
    words = (
        f"{counted(errors['rollouts'], 'rollout')} at {counted(errors['frames'], 'common time')}, the start included."
        " Geometric means are over all rollouts and all times but the start."
    )
    return words + (f" Exact zeros are left out of them: {left_out}." if left_out else "")


def _conservation_words(numbers: dict[str, Any]) -> str:
    drift = numbers["drift"]
    words = (
        f"Largest deviation of the energy {number(drift['energy_largest'])}, standard deviation"
        f" {number(drift['energy_fluctuation'])}, change of the total momentum {number(drift['momentum'])} of the"
        " sum of all momenta (the worst rollout each)."
    )
    trend = drift["energy_trend"]
    if trend is not None:
        words += (
            f" Trend of the energy: {number(trend['slope'])} ± {number(trend['standard_error'], 2)} per unit time, p ="
            f" {number(trend['p_value'], 2)}."
        )
    return words


def _liquid(panels: Panels, comparison: LiquidComparison, liquid: dict[str, Any]) -> str:
    rows = []
    for pair in liquid["observables"]:
        sides = pair["reference"], pair["rollouts"]
        scalar = len(pair["x"]) == 1
        values = [with_error(side["mean"][0], side["standard_error"][0]) if scalar else "curve" for side in sides]
        rows.append(
            [
                OBSERVABLES[pair["kind"]],
                pair["label"],
                *values,
                number(pair["bins"]),
                number(pair["chi2_per_bin"]),
                number(pair["p_value"], 2),
            ]
        )
    frames, blocks = liquid["frames"], liquid["block_frames"]
    words = (
        f"Standard errors come from blocks of {number(blocks['reference'])} of {number(frames['reference'])} frames of"
        f" the reference and {number(blocks['rollouts'])} of {number(frames['rollouts'])} of the rollouts. χ² per bin"
        " is the mean squared difference in combined standard errors, about 1 for two samples of one liquid. Bins are"
        " correlated, so p is found by dealing whole blocks to the two sides anew: the share of deals that are at least"
        " as far apart. Small p means that the liquids differ."
    )
    header = ["observable", "of", "reference", "rollouts", "bins", "χ² per bin", "p"]
    drawn = [panels.observable(pair) for pair in comparison.observables if pair.reference.x.size > 1]
    body = _paragraph(words) + table(header, rows, text_columns=2) + _grid(drawn)
    return f"<section><h2>The liquid</h2>\n{body}</section>\n"


def _rollouts(numbers: dict[str, Any]) -> str:
    each = numbers["rollouts"]["each"]
    header = [
        "rollout",
        "started from",
        "frames",
        "Zerr",
        "Herr",
        "Perr",
        "energy: s.d.",
        "trend, s.e.",
        "momentum",
        "stopped",
    ]
    rows = [
        [
            one["name"],
            UNKNOWN if one["trajectory"] is None else f"{one['trajectory']}, frame {one['frame']}",
            number(one["frames"]),
            *(number(one[metric]) for metric in ("zerr", "herr", "perr")),
            number(one["energy_fluctuation"], 2),
            number(None if one["energy_trend"] is None else one["energy_trend"]["in_standard_errors"], 2),
            number(one["momentum"], 2),
            "" if one["first_non_finite"] is None else f"frame {one['first_non_finite']}",
        ]
        for one in each[:MOST_ROWS]
    ]
    more = len(each) - len(rows)
    words = f"The first {len(rows)} of {len(each)} rollouts." if more else ""
    return f"<section><h2>Each rollout</h2>\n{_paragraph(words)}{table(header, rows, text_columns=2)}</section>\n"


def _sources(comparison: RolloutComparison, numbers: dict[str, Any]) -> str:
    model, units = numbers["model"], numbers["units"]
    blocks = ", ".join(f"{block['kind']} ({number(block['columns'])} features)" for block in model["blocks"])
    trained = [f"{entry['digest'][:12]} ({number(entry['frames'])} frames)" for entry in model["data"]]
    columns = [
        (
            "Model",
            [
                ("species", ", ".join(model["labels"])),
                ("dimensions", number(model["dim"])),
                ("blocks", blocks),
                ("trained on", ", ".join(trained) or UNKNOWN),
                ("units", ", ".join(unit(units[name]) for name in ("length", "energy", "mass", "time"))),
                ("true law", numbers["true_law"] or "unknown"),
            ],
        ),
        *((title, _data(numbers[key])) for title, key in (("Reference", "reference"), ("Rollouts", "rollouts"))),
    ]
    body = "".join(f"<div><h3>{escape(title)}</h3>{facts(rows)}</div>\n" for title, rows in columns)
    return f'<section><h2>Model and data</h2>\n<div class="columns">\n{body}</div></section>\n'


def _data(data: dict[str, Any]) -> list[tuple[str, str]]:
    few, many = data["particles"]
    return [
        ("dataset", data["path"].rsplit("/", 1)[-1]),
        ("digest", data["digest"][:12]),
        ("trajectories", number(data["trajectories"])),
        ("frames", number(data["frames"])),
        ("particles", number(few) if few == many else f"{number(few)} to {number(many)}"),
    ]
