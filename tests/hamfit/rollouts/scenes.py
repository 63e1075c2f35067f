"""Models and initial states of every kind that a rollout may meet, small, each made once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hamfit.data import Dataset, DatasetWriter
from hamfit.fitting import fit
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.systems import simulate
from worlds import liquids, soft_spring, write

QUICK = FitOptions(features=32, threads=1, checkpoint=False)
#: Lives as long as the tests do.
FOLDER = TemporaryDirectory(prefix="hamfit-scenes-")


@dataclass(frozen=True, slots=True)
class Scene:
    """A model, where to start it, and a step that suits it."""

    name: str
    model: Model
    initial: Dataset
    dt: float


def folder(name: str) -> Path:
    return Path(FOLDER.name) / name


def beside_each_other(name: str, trajectories: Sequence[Sequence[Frame]], units: str = "lj") -> Dataset:
    """A dataset of the given frames."""
    return write(folder(name), trajectories, units=units)


def slower(frame: Frame, factor: float) -> Frame:
    """The frame with its momenta times a factor."""
    assert frame.p is not None
    p = factor * frame.p
    return replace(frame, p=p, qdot=p / frame.masses[:, None])


@cache
def chain() -> Scene:
    """Springs along a line."""
    seen = simulate("spring", folder("chain-seen"), shape="6", n_trajectories=6, n_frames=20, seed=1)
    new = simulate("spring", folder("chain"), shape="9", n_trajectories=2, n_frames=5, seed=2)
    return Scene("chain", fit(seen, options=QUICK).model, new, 0.05)


@cache
def square() -> Scene:
    """Springs of two kinds on a square lattice."""
    flags = {"geometry": "square", "diagonals": True}
    seen = simulate("anharmonic", folder("square-seen"), shape="3x3", n_trajectories=6, n_frames=20, seed=1, **flags)
    new = simulate("anharmonic", folder("square"), shape="4x3", n_trajectories=1, n_frames=5, seed=2, **flags)
    return Scene("square", fit(seen, options=QUICK).model, new, 0.05)


@cache
def ring_model() -> Model:
    seen = simulate("nspring", folder("ring-seen"), n_trajectories=8, n_frames=30, width=2.2)
    return fit(seen, options=QUICK).model


@cache
def rings() -> Scene:
    """Rings of 5, 8 and 5 springs in one dataset; no ring of 8 has been seen."""
    five = simulate("nspring", folder("five"), n_trajectories=2, n_frames=12, seed=7)
    eight = simulate("nspring", folder("eight"), n_trajectories=1, n_frames=12, seed=8, n_bodies=8)
    frames = [five.trajectories[0].frames(), eight.trajectories[0].frames(), five.trajectories[1].frames()]
    return Scene("rings", ring_model(), beside_each_other("rings", frames), 0.01)


@cache
def pair_of_rings() -> Scene:
    """A ring of 5 springs and one of 8."""
    frames = [t.frames() for t in rings().initial.trajectories[:2]]
    return Scene("pair of rings", ring_model(), beside_each_other("pair-of-rings", frames), 0.01)


@cache
def bodies() -> Scene:
    """Four bodies that attract each other, all pairs."""
    seen = simulate("nbody", folder("bodies-seen"), n_frames=400)
    new = simulate("nbody", folder("bodies"), n_frames=6, start="fresh", n_trajectories=2, seed=3)
    return Scene("bodies", fit(seen, options=QUICK).model, new, 0.01)


@cache
def liquid_model() -> Model:
    data = write(folder("liquid-seen"), [liquids(1, 24, n_species=2)])
    return fit(data, options=QUICK, cutoff=1.75).model


@cache
def liquid() -> Scene:
    """Binary liquids of 27 and 64 particles; none of 64 has been seen."""
    calm = {"n_species": 2, "jitter": 0.06}
    frames = [liquids(2, 12, **calm), liquids(3, 12, side=4, **calm)]
    return Scene("liquid", liquid_model(), beside_each_other("liquid", frames), 0.002)


@cache
def plane() -> Scene:
    """Soft spheres in the plane, periodic, slower than those that were seen."""
    how = {"dim": 2, "law": soft_spring, "side": 4}
    seen = write(folder("plane-seen"), [liquids(1, 40, jitter=0.2, **how)])
    new = write(folder("plane"), [[slower(frame, 0.2) for frame in liquids(2, 3, **how)]])
    return Scene("plane", fit(seen, options=QUICK, cutoff=1.75).model, new, 0.01)


@cache
def crowd_seen() -> Dataset:
    return write(folder("crowd-seen"), [liquids(1, 16, jitter=0.08)])


@cache
def crowd() -> Scene:
    """A many-body model, which no engine compiles."""
    model = fit(crowd_seen(), options=QUICK, blocks=("kinetic", "manybody"), cutoff=1.75, radial=8, l_max=1).model
    return Scene("crowd", model, write(folder("crowd"), [liquids(2, 2, jitter=0.05)]), 0.002)


@cache
def fast() -> Scene:
    """T = sqrt(1 + p^2) on a line of springs: velocities are no multiples of momenta."""
    seen = relativistic(folder("fast-seen"), 1, 200, 0.7, 1.5)
    return Scene(
        "fast", fit(seen, options=QUICK, blocks=("kinetic", "pair")).model, relativistic(folder("fast"), 2, 3), 0.02
    )


def relativistic(path: Path, seed: int, count: int, displacement: float = 0.1, momentum: float = 0.5) -> Dataset:
    """States of three bodies on a line, neighbours bound by springs of stiffness 1.3 and length 2; in the first of them
    the bodies are at rest."""
    rng = np.random.default_rng(seed)
    q = 2.0 * np.arange(3.0)[:, None] + rng.uniform(-displacement, displacement, size=(count, 3, 1))
    p = rng.uniform(-momentum, momentum, size=q.shape)
    p[0] = 0.0
    stretch = np.diff(q, axis=1) - 2.0
    nothing = np.zeros((count, 1, 1))
    force = 1.3 * np.diff(stretch, axis=1, prepend=nothing, append=nothing)
    energy = 0.65 * np.sum(stretch**2, axis=(1, 2))
    with DatasetWriter.create(path, units="lj", labels=("A",), bond_labels=("s",)) as writer:
        writer.add_trajectory(
            "run-0",
            q=q,
            species=np.zeros(3, dtype=np.int64),
            masses=1.0,
            velocity=p / np.sqrt(1.0 + p * p),
            momentum=p,
            force=force,
            potential_energy=energy,
            bonds=[[0, 1], [1, 2]],
        )
    return Dataset.open(path)


def flung(frame: Frame, momentum: float) -> Frame:
    """The frame with its first particle flung away."""
    assert frame.p is not None
    p = frame.p.copy()
    p[0, 0] = momentum
    return replace(frame, p=p, qdot=p / frame.masses[:, None])


@cache
def fragile(kind: str) -> Scene:
    """Three states of which the middle one comes to where numbers end, after a dozen steps."""
    made, momentum = {"chain": (chain(), 1e12), "liquid": (liquid(), 5e13), "crowd": (crowd(), 1e14)}[kind]
    model = made.model
    if kind == "crowd":
        # a kinetic energy that was learned means nothing at such momenta, |p|^2 / 2m does
        model = fit(crowd_seen(), options=QUICK, blocks=("manybody",), cutoff=1.75, radial=8, l_max=1).model
    frames = made.initial.trajectories[0].frames()
    some = [[frames[0]], [flung(frames[1], momentum)], [frames[0]]]
    return Scene(f"fragile {kind}", model, write(folder(f"fragile-{kind}"), some), 2.0 * made.dt)


SCENES: tuple[Callable[[], Scene], ...] = (chain, square, rings, bodies, liquid, plane, crowd, fast)
