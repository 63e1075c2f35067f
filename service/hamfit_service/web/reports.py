"""The report of a run as people read it: facts, tables and plots. Whatever a report lacks is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hamfit_service.web.formatting import UNKNOWN, counted, duration, number, rate, size
from hamfit_service.wire import TrajectoryDocument

_MOST_ROWS = 50
_MOST_POINTS = 300
_METRICS = ("zerr", "herr", "perr")
_PARTS = {"velocity": "velocities", "force": "forces", "energy": "energies"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column heads."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, and the same numbers for those who cannot see it."""

    title: str
    spec: Mapping[str, Any]
    """What `plots.js` draws."""
    table: Table


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown of a report."""

    facts: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    warnings: Sequence[str] = ()
    more: Sequence[Table] = field(default=())
    """Long tables, at the end."""


def report_of(process: str, found: Mapping[str, Any] | None, trajectories: Sequence[TrajectoryDocument]) -> Report:
    """The report of a job, as far as there is one."""
    if not found:
        return Report()
    makers = {"fit": _fit, "rollout": _rollout, "evaluate": _evaluate}
    made = makers[process](found, trajectories) if process in makers else _dataset(found)
    warnings = [str(text) for text in found.get("warnings") or ()]
    return Report(made.facts, made.tables, made.plots, warnings, made.more)


def model_facts(model: Mapping[str, Any]) -> Report:
    """What is known of a published model."""
    summary = model.get("summary") or {}
    made = _fit(summary, ())
    lineage = _flat(model.get("lineage") or {})
    return Report(made.facts, [*made.tables, Table("Lineage", ("what", "value"), lineage)], made.plots)


def _fit(found: Mapping[str, Any], trajectories: Sequence[TrajectoryDocument]) -> Report:
    del trajectories
    parts = _each(found.get("train")) | _each(found.get("held_out")) | _each(found.get("rank"))
    rows = [
        [
            _PARTS.get(part, part),
            *(number(_at(found, key, part)) for key in ("train", "held_out")),
            number(_at(found, "parts", part, "columns")),
            number(_at(found, "rank", part)),
            number(_at(found, "condition", part)),
            number(_at(found, "parts", part, "ridge")),
        ]
        for part in parts
    ]
    heads: Sequence[str] = ("part", "error, train", "error, held out", "columns", "rank", "condition", "ridge")
    # a published model keeps less than the report of its fit
    kept = [place for place in range(len(heads)) if any(row[place] != UNKNOWN for row in rows)]
    heads, rows = [heads[place] for place in kept], [[row[place] for place in kept] for row in rows]
    note = "Relative errors; held out: groups of frames that the solution did not see."
    facts = [
        ("blocks", ", ".join(map(str, found.get("blocks") or ())) or None),
        ("rows", number(found.get("rows")) if "rows" in found else None),
        ("shards", number(found.get("shards")) if "shards" in found else None),
        ("time", duration(_at(found, "seconds", "total")) if _at(found, "seconds", "total") is not None else None),
        ("computing, all cores", duration(found["compute_seconds"]) if found.get("compute_seconds") else None),
        (
            "peak memory of a worker",
            size(found["peak_bytes_per_worker"]) if found.get("peak_bytes_per_worker") else None,
        ),
        *_choices(found.get("choices") or {}),
    ]
    return Report(
        _known(facts), [Table("Errors and conditions", heads, rows, note)] if rows else [], list(_phases(found))
    )


def _choices(choices: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for block, chosen in choices.items():
        if isinstance(chosen, Mapping):
            maps = chosen.get("input_maps")
            said = [", ".join(map(str, maps))] if isinstance(maps, list) and maps else []
            said += [f"taper {chosen['taper']}"] if chosen.get("taper") else []
            yield f"chosen for {block}", "; ".join(said) or None


def _phases(found: Mapping[str, Any]) -> Iterator[Plot]:
    spent = {name: value for name, value in _each(found.get("seconds")).items() if name != "total" and _is(value)}
    if not spent:
        return
    table = Table("Seconds per phase", ("phase", "time"), [[name, duration(value)] for name, value in spent.items()])
    spec = {"kind": "bars", "labels": list(spent), "values": list(spent.values()), "value": "seconds"}
    yield Plot("Seconds per phase", spec, table)


def _rollout(found: Mapping[str, Any], trajectories: Sequence[TrajectoryDocument]) -> Report:
    dt = number(found.get("dt")) + (" (proposed)" if found.get("dt_proposed") else "")
    per_hour = [(name, value) for name, value in found.items() if name.endswith("_per_hour") and _is(value)]
    facts = [
        ("rollouts", number(found.get("rollouts"))),
        ("steps of each", number(found.get("steps"))),
        ("step", dt),
        ("integrator", found.get("integrator")),
        ("engine", found.get("engine")),
        ("speed", f"{rate(found['steps_per_second'])} steps/s" if _is(found.get("steps_per_second")) else None),
        *((name.replace("_per_hour", " per hour"), number(value)) for name, value in per_hour),
        ("largest energy drift", number(found.get("energy_drift"))),
        ("largest momentum drift", number(found.get("momentum_drift"))),
        ("pairs outside training", _share(found.get("extrapolated_share"))),
        ("time", duration(_at(found, "seconds", "total")) if _at(found, "seconds", "total") is not None else None),
        ("peak memory", size(found["peak_bytes"]) if found.get("peak_bytes") else None),
    ]
    drifts = [(one.name, (one.summary or {}).get("energy_drift")) for one in trajectories]
    return Report(_known(facts), plots=list(_scatter("Energy drift of each trajectory", "drift", drifts)))


def _evaluate(found: Mapping[str, Any], trajectories: Sequence[TrajectoryDocument]) -> Report:
    del trajectories
    rollouts = found.get("rollouts")
    if not isinstance(rollouts, Mapping):
        names = {
            "frames": "frames",
            "force": "forces, relative error",
            "velocity": "velocities, relative error",
            "force_mae": "forces, mean absolute error",
            "force_rmse": "forces, root mean square error",
            "energy_mae_per_particle": "energy per particle, mean absolute error",
        }
        facts = [(name, number(found[key])) for key, name in names.items() if key in found]
        return Report(_known([*facts, ("pairs outside training", _share(found.get("extrapolated_share")))]))
    each = [one for one in rollouts.get("each") or () if isinstance(one, Mapping)]
    compared: list[tuple[str, str | None]] = [
        ("rollouts", number(rollouts.get("trajectories"))),
        ("frames", number(rollouts.get("frames"))),
        *((name.capitalize(), number(_at(found, "errors", name))) for name in _METRICS),
        ("energy, largest change", number(_at(found, "drift", "energy_largest"))),
        ("energy, trend per unit time", number(_at(found, "drift", "energy_trend", "slope"))),
        ("momentum, largest change", number(_at(found, "drift", "momentum"))),
        ("forces, relative error", number(_at(found, "forces", "relative_error"))),
        ("pairs outside training", _share(found.get("extrapolated_share"))),
    ]
    heads = ("rollout", "Zerr", "Herr", "Perr", "energy, largest change")
    keys = ("zerr", "herr", "perr", "energy_largest")
    rows = [[str(one.get("name", "")), *(number(one.get(key)) for key in keys)] for one in each[:_MOST_ROWS]]
    note = f"The first {_MOST_ROWS} of {counted(len(each), 'rollout')}." if len(each) > _MOST_ROWS else ""
    scatter = _scatter("Zerr of each rollout", "Zerr", [(str(one.get("name", "")), one.get("zerr")) for one in each])
    plots = [*_curves(_each(found.get("errors"))), *scatter]
    return Report(_known(compared), plots=plots, more=[Table("Rollouts", heads, rows, note)] if rows else [])


def _curves(errors: Mapping[str, Any]) -> Iterator[Plot]:
    """Errors against time, where trajectories were compared."""
    time, curves = errors.get("time"), _each(errors.get("curves"))
    if not isinstance(time, list) or len(time) < 2:
        return
    shown = {name: curves[name] for name in _METRICS[:2] if isinstance(curves.get(name), list)}
    shown = {name: values for name, values in shown.items() if len(values) == len(time) and any(map(_is, values))}
    if not shown:
        return
    step = -(-(len(time) - 1) // _MOST_POINTS)
    places = range(1, len(time), step)
    rows = [
        [number(time[at]), *(number(values[at]) for values in shown.values())]
        for at in range(1, len(time), max(1, len(time) // 12))
    ]
    names = [name.capitalize() for name in shown]
    spec = {
        "kind": "lines",
        "x": [time[at] for at in places],
        "series": [
            {"label": name, "values": [values[at] for at in places]}
            for name, values in zip(names, shown.values(), strict=True)
        ],
    }
    note = "Geometric means over all rollouts; some of the times."
    yield Plot("Errors against time", spec, Table("Errors against time", ("time", *names), rows, note))


def _scatter(title: str, what: str, found: Sequence[tuple[str, Any]]) -> Iterator[Plot]:
    known = [(name, value) for name, value in found if _is(value)]
    if not known:
        return
    rows = [[name, number(value)] for name, value in known[:_MOST_ROWS]]
    note = f"The first {_MOST_ROWS} of {len(known):,}." if len(known) > _MOST_ROWS else ""
    spec = {"kind": "points", "labels": [name for name, _ in known], "values": [abs(value) for _, value in known]}
    yield Plot(title, {**spec, "value": what}, Table(title, ("trajectory", what), rows, note))


def _dataset(found: Mapping[str, Any]) -> Report:
    particles = found.get("n_particles")
    if isinstance(particles, list) and particles:
        particles = number(particles[0]) if particles[0] == particles[-1] else f"{particles[0]:,} to {particles[-1]:,}"
    units = found.get("units")
    facts = [
        ("trajectories", number(found.get("n_trajectories"))),
        ("frames", number(found.get("n_frames"))),
        ("particles", particles if isinstance(particles, str) else None),
        ("dimensions", number(found.get("dim"))),
        ("species", ", ".join(map(str, found.get("labels") or ())) or None),
        ("units", units.get("name") if isinstance(units, Mapping) else None),
        ("size", size(found["n_bytes"]) if _is(found.get("n_bytes")) else None),
        ("digest", str(found["digest"])[:16] if found.get("digest") else None),
    ]
    every = [one for one in found.get("trajectories") or () if isinstance(one, Mapping)]
    rows = [
        [str(one.get("name", "")), number(one.get("n_frames")), number(one.get("n_particles")), _span(one.get("time"))]
        for one in every[:_MOST_ROWS]
    ]
    note = f"The first {_MOST_ROWS} of {len(every):,}." if len(every) > _MOST_ROWS else ""
    table = Table("Trajectories", ("name", "frames", "particles", "time"), rows, note)
    return Report(_known(facts), more=[table] if rows else [])


def _flat(value: Mapping[str, Any], before: str = "") -> list[list[str]]:
    """Nested facts as rows: options.cutoff."""
    rows: list[list[str]] = []
    for key, item in value.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(item, Mapping):
            rows += _flat(item, f"{before}{key}: ")
        elif isinstance(item, list):
            if all(isinstance(one, Mapping) for one in item) and item:
                for count, one in enumerate(item, 1):
                    rows += _flat(one, f"{before}{key} {count}: ")
            elif item:
                rows.append([name, ", ".join(str(one) for one in item)])
        elif item is not None:
            rows.append([name, {True: "yes", False: "no"}[item] if isinstance(item, bool) else str(item)])
    return rows


def _known(facts: Sequence[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in facts if value not in (None, UNKNOWN, "")]


def _span(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2 and all(_is(one) for one in value):
        return f"{number(value[0])} to {number(value[1])}"
    return UNKNOWN


def _share(value: Any) -> str | None:
    return f"{number(100 * value)} %" if _is(value) else None


def _is(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _each(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
