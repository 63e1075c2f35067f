"""Held-out and test errors of the many-body block by plain ridge least squares: the source of its defaults.

    python -m tests.benchmarks.manybody_defaults FOLDER MATERIAL [--features 1000] [--seed 0] [--energy-weight 0] ...

FOLDER holds MATERIAL-training.extxyz.gz and perhaps MATERIAL-test.extxyz.gz (the mlearn data), or
MATERIAL.lammpstrj.gz (tests/data), of which frames 0 to 14 are trained on and 15 to 19 tested.

Deliberately independent of ``hamfit.fit``: the block is judged alone, by the simplest solver that can judge it.
Columns are scaled to unit mean square; five groups of interleaved frames are left out in turn; the ridge with the
smallest root mean square of held-out force errors is kept, and the last solve uses all training frames.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path

import ase.io
import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from hamfit.features.manybody import ManyBodyBlock
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.types import FloatArray

MULTIPLES = (1.5, 1.8, 2.1, 2.4, 2.7)
RIDGES = 10.0 ** np.arange(-13, -2.9)
GROUPS = 5


def read(folder: Path, material: str) -> tuple[list[Frame], list[Frame]]:
    """Training and test frames, forces in pdot."""
    dump = folder / f"{material}.lammpstrj.gz"
    if dump.exists():
        frames = read_dump(dump)
        return frames[:15], frames[15:]
    test = folder / f"{material}-test.extxyz.gz"
    return read_xyz(folder / f"{material}-training.extxyz.gz"), read_xyz(test) if test.exists() else []


def read_xyz(path: Path) -> list[Frame]:
    return [
        Frame(
            q=atoms.positions.copy(),
            species=np.zeros(len(atoms), dtype=np.int64),
            labels=(atoms.symbols[0],),
            masses=atoms.get_masses(),
            box=np.array(atoms.cell),
            periodic=(True, True, True),
            pdot=atoms.get_forces(),
            potential_energy=float(atoms.get_potential_energy()),
        )
        for atoms in ase.io.read(path, ":")
    ]


def read_dump(path: Path) -> list[Frame]:
    """Frames of one species in an orthogonal periodic box; only what is needed here."""
    out = []
    with gzip.open(path, "rt") as file:
        for line in file:
            if not line.startswith("ITEM: NUMBER"):
                continue
            n = int(next(file))
            next(file)
            edges = np.array([next(file).split() for _ in range(3)], dtype=float)
            names = next(file).split()[2:]
            table = np.array([next(file).split() for _ in range(n)], dtype=float)
            table = table[np.argsort(table[:, names.index("id")])]

            def columns(*wanted: str, names: list[str] = names, table: FloatArray = table) -> FloatArray:
                return np.ascontiguousarray(table[:, [names.index(name) for name in wanted]])

            out.append(
                Frame(
                    q=columns("xu", "yu", "zu"),
                    species=np.zeros(n, dtype=np.int64),
                    labels=("1",),
                    masses=columns("mass")[:, 0],
                    box=np.diag(edges[:, 1] - edges[:, 0]),
                    periodic=(True, True, True),
                    pdot=columns("fx", "fy", "fz"),
                )
            )
    return out


class Columns:
    """The many-body block and, beside it, n_pair functions tanh(w r + b) with the same cutoff and taper."""

    def __init__(self, frames: list[Frame], cutoff: float, args: argparse.Namespace, features: int) -> None:
        self.graph = CutoffGraph(frames[0].labels, np.array([[cutoff]]))
        options = {name: getattr(args, name) for name in ("l_max", "n_bumps", "bump_width", "weight_scale", "sampler")}
        rng = np.random.default_rng(args.seed)
        self.block = ManyBodyBlock.sample(frames, self.graph, n_features=features, rng=rng, **options)
        rng = np.random.default_rng(args.seed + 99)
        self.cutoff, self.weights = cutoff, rng.normal(0.0, 4.0 / cutoff, args.pair)
        self.bias = -self.weights * rng.uniform(0.0, cutoff, args.pair)

    def rows(self, frame: Frame) -> FloatArray:
        slope = self._pair(frame)[1]
        edges = self.graph.prepare(frame).edges(np.arange(frame.n_particles))
        unit = edges.vector / edges.distance[:, None]
        total = np.add.reduceat(slope[:, None, :] * unit[:, :, None], edges.offsets[:-1], axis=0)
        many = self.block.rows(self.block.prepare(frame), np.arange(frame.n_particles))
        return np.hstack([many, total.reshape(many.shape[0], -1)])

    def features(self, frame: Frame) -> FloatArray:
        return np.concatenate([self.block.features(self.block.prepare(frame)), 0.5 * self._pair(frame)[0].sum(axis=0)])

    def _pair(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        r = self.graph.prepare(frame).edges(np.arange(frame.n_particles)).distance[:, None]
        inside = 1.0 - (r / self.cutoff) ** 2
        tanh = np.tanh(r * self.weights + self.bias)
        slope = (1.0 - tanh**2) * self.weights * inside**2 - 4.0 * tanh * inside * r / self.cutoff**2
        return tanh * inside**2, slope


class Fit:
    """Groups of normal equations, for any ridge and any group left out."""

    def __init__(self, frames: list[Frame], columns: Columns, energy_weight: float) -> None:
        self.rows = [columns.rows(frame) for frame in frames]
        self.targets = [-frame.pdot.ravel() for frame in frames]
        self.group = np.arange(len(frames)) % min(GROUPS, len(frames))
        self.size = float(np.sqrt(np.mean(np.concatenate(self.targets) ** 2)))
        count = sum(len(rows) for rows in self.rows)
        self.norms = np.sqrt(sum((rows**2).sum(axis=0) for rows in self.rows) / count)
        self.norms[self.norms == 0.0] = 1.0
        self.n_particles = np.array([frame.n_particles for frame in frames], dtype=float)
        self.energies = np.array([frame.potential_energy or 0.0 for frame in frames]) / self.n_particles
        self.pooled = np.array([columns.features(frame) for frame in frames]) / self.n_particles[:, None]
        # energies per particle, in units in which the weight 1 gives them all together the sum of squares of the forces
        spread = self.energies.std()
        self.square = energy_weight**2 * count / len(frames) * (self.size / spread) ** 2 if spread > 0 else 0.0
        self.states = [self._state(self.group == g) for g in range(self.group.max() + 1)]

    def _state(self, chosen: np.ndarray) -> tuple[FloatArray, FloatArray, int]:
        rows = np.vstack([self.rows[k] for k in np.flatnonzero(chosen)]) / self.norms
        targets = np.concatenate([self.targets[k] for k in np.flatnonzero(chosen)])
        return rows.T @ rows, rows.T @ targets, len(rows)

    def solve(self, ridge: float, without: int | None = None) -> FloatArray:
        kept = [state for g, state in enumerate(self.states) if g != without]
        gram, right = sum(s[0] for s in kept), sum(s[1] for s in kept)
        chosen = np.flatnonzero(self.group != (-1 if without is None else without))
        rows = (self.pooled[chosen] - self.pooled[chosen].mean(axis=0)) / self.norms
        energies = self.energies[chosen] - self.energies[chosen].mean()
        gram = gram + self.square * (rows.T @ rows)
        right = right + self.square * (rows.T @ energies)
        gram[np.diag_indices_from(gram)] += ridge * sum(s[2] for s in kept)
        return cho_solve(cho_factor(gram, lower=True), right) / self.norms

    def held_out(self, ridge: float) -> FloatArray:
        """Errors of the forces of every frame, predicted without its group."""
        errors = []
        for g in range(len(self.states)):
            theta = self.solve(ridge, without=g)
            errors += [self.rows[k] @ theta - self.targets[k] for k in np.flatnonzero(self.group == g)]
        return np.concatenate(errors)

    def best(self, ridges: FloatArray) -> tuple[float, FloatArray]:
        """The ridge of least root mean square of held-out errors, and those errors."""
        tried = []
        for ridge in ridges:
            try:
                tried.append((float(ridge), self.held_out(ridge)))
            except LinAlgError:  # below what normal equations resolve
                continue
        return min(tried, key=lambda pair: float(np.sum(pair[1] ** 2)))


def nearest(frames: list[Frame]) -> float:
    """Median over all particles of the distance to the nearest one."""
    graph = CutoffGraph(frames[0].labels, np.array([[6.0]]))
    edges = [graph.prepare(frame).edges(np.arange(frame.n_particles)) for frame in frames]
    return float(np.median(np.concatenate([np.minimum.reduceat(e.distance, e.offsets[:-1]) for e in edges])))


def choose_cutoff(frames: list[Frame], args: argparse.Namespace) -> float:
    """256 features, evenly spaced frames of 4000 particles in all, four ridges; the least held-out error."""
    step = max(1, round(sum(frame.n_particles for frame in frames) / 4000))
    some, errors = frames[::step], {}
    for multiple in MULTIPLES:
        cutoff = float(f"{multiple * nearest(frames):.3g}")
        fit = Fit(some, Columns(some, cutoff, args, 256), 0.0)
        _, left = fit.best(np.array([1e-10, 1e-8, 1e-6, 1e-4]))
        errors[cutoff] = float(np.sqrt(np.mean(left**2))) / fit.size
        print(f"cutoff {cutoff} ({multiple} nearest distances): held-out error {errors[cutoff]:.4f}", flush=True)
    return min(errors, key=lambda cutoff: errors[cutoff])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("material")
    parser.add_argument("--cutoff", type=float, help="chosen by held-out error when not given")
    parser.add_argument("--features", type=int, default=1000)
    parser.add_argument("--pair", type=int, default=256, help="pair functions beside the block")
    parser.add_argument("--l-max", type=int, default=3)
    parser.add_argument("--n-bumps", type=int, default=10)
    parser.add_argument("--bump-width", type=float, default=2.0)
    parser.add_argument("--weight-scale", type=float, default=0.05)
    parser.add_argument("--sampler", default="elm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--energy-weight", type=float, nargs="+", default=[0.0], help="as in hamfit fit")
    args = parser.parse_args()
    train, test = read(args.folder, args.material)
    cutoff = args.cutoff or choose_cutoff(train, args)
    columns = Columns(train, cutoff, args, args.features)
    for weight in args.energy_weight:
        start = time.process_time()
        fit = Fit(train, columns, weight)
        assembled = time.process_time()
        ridge, left = fit.best(RIDGES)
        theta = fit.solve(ridge)
        seconds = (assembled - start, time.process_time() - assembled)
        line = f"{args.material} features {args.features} pair {args.pair} seed {args.seed} cutoff {cutoff}"
        line += f" energy weight {weight} ridge {ridge:.0e}: held out MAE {np.abs(left).mean():.5f}"
        line += f" relative {np.sqrt(np.mean(left**2)) / fit.size:.5f}"
        if test:
            errors = np.concatenate([columns.rows(frame) @ theta + frame.pdot.ravel() for frame in test])
            size = np.sqrt(np.mean(np.concatenate([frame.pdot.ravel() for frame in test]) ** 2))
            line += f"; test MAE {np.abs(errors).mean():.5f} relative {np.sqrt(np.mean(errors**2)) / size:.5f}"
            if test[0].potential_energy is not None:
                offset = np.mean(fit.energies - fit.pooled @ theta)
                n = np.array([frame.n_particles for frame in test])
                known = np.array([frame.potential_energy for frame in test]) / n
                made = np.array([columns.features(frame) @ theta for frame in test]) / n + offset
                line += f" energy RMSE {1e3 * np.sqrt(np.mean((made - known) ** 2)):.2f} meV/atom"
        print(f"{line}; CPU s: rows {seconds[0]:.1f}, 5 groups x {RIDGES.size} ridges {seconds[1]:.1f}", flush=True)


if __name__ == "__main__":
    main()
