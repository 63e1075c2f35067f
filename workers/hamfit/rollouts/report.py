"""What is said of finished rollouts: how well they conserve, how fast they were, and what to be careful with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hamfit.rollouts.plan import RolloutPlan
from hamfit.rollouts.starts import InitialStates

#: The time unit of ase, A sqrt(amu / eV), in nanoseconds.
_ASE_NANOSECONDS = 10.180505e-6
#: Relative change of the energy that deserves a warning; a good step gives 1e-4 and less.
_MUCH_DRIFT = 1e-2


def report_of(plan: RolloutPlan, summaries: Sequence[Mapping[str, Any]], resumed: bool) -> dict[str, Any]:
    """How the rollouts of a plan went, from the summaries of them all; JSON-able."""
    options = plan.options
    pairs = sum(s["pairs"] for s in summaries)
    outside = sum(s["outside"] for s in summaries)
    stopped = [
        {
            "name": s["name"],
            "step": s["first_non_finite"],
            "last_stored_step": s["steps"] // options.stride * options.stride if s["first_non_finite"] else None,
            "reason": s["reason"],
        }
        for s in summaries
        if s["first_non_finite"] is not None
    ]
    return {
        "rollouts": len(summaries),
        "steps": options.steps,
        "every": options.stride,
        "dt": plan.dt,
        "dt_proposed": plan.dt_proposed,
        "integrator": options.integrator,
        # what ran, which need not be what the plan was tried on
        "engine": "; also ".join(dict.fromkeys(engine for s in summaries for engine in s["engines"])),
        "devices": sorted({name for s in summaries for name in s["devices"]} - {"cpu"}),
        "compilation_error": plan.compilation_error,
        "energy_drift": max(s["energy_drift"] for s in summaries),
        "momentum_drift": max(s["momentum_drift"] for s in summaries),
        "extrapolated_share": outside / pairs if pairs else None,
        "first_non_finite": stopped,
        "resumed": resumed,
        "warnings": [*_caveats(outside, pairs, stopped, summaries), *_unlike_devices(plan, summaries)],
    }


def _caveats(
    outside: int, pairs: int, stopped: Sequence[Mapping[str, Any]], summaries: Sequence[Mapping[str, Any]]
) -> list[str]:
    notes = []
    worst = max(summaries, key=lambda s: float(s["energy_drift"]))
    if outside:
        notes.append(
            f"{outside / pairs:.1e} of the pairs in stored frames are outside the distances seen in training, where the"
            " model is not to be trusted: fit it to data that hold them"
        )
    begun = [s for s in stopped if s["step"] > 0]
    not_begun = [s for s in stopped if s["step"] == 0]
    if not_begun:
        first = not_begun[0]
        notes.append(
            f"{len(not_begun)} of {len(summaries)} states are none to start from and have no trajectory, the first,"
            f" {first['name']}: {first['reason']}"
        )
    if begun:
        first = min(begun, key=lambda s: int(s["step"]))
        notes.append(
            f"{len(begun)} of {len(summaries)} rollouts were stopped when numbers were no longer finite, the first,"
            f" {first['name']}, at step {first['step']}: take a smaller dt"
        )
    if worst["energy_drift"] > _MUCH_DRIFT:
        notes.append(
            f"the energy of {worst['name']} changed by {worst['energy_drift']:.1e} of itself: take a smaller dt or a"
            " method of higher order"
        )
    return notes


def _unlike_devices(plan: RolloutPlan, summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """That one trajectory, or several of one size, were made on different devices, as there were at the time."""
    sizes = {t.name: t.n_particles for t in plan.states.dataset.trajectories}
    used: dict[int, set[str]] = {}
    for summary in summaries:
        used.setdefault(sizes[summary["trajectory"]], set()).update(summary["devices"])
    names = sorted({name for devices in used.values() if len(devices) > 1 for name in devices})
    if not names:
        return []
    return [
        f"trajectories were made on different devices ({', '.join(names)}), which round differently: they are as valid,"
        " but a repetition will not give the same bits; each says which made it, and with one device all repeat"
    ]


def speed_of(plan: RolloutPlan, steps: int, seconds: float) -> dict[str, Any]:
    """Steps of all rollouts together that this run made, and the time that they cover, per unit of wall time."""
    rate = steps / seconds if seconds > 0.0 else 0.0
    name, factor = per_hour(plan.states)
    return {"steps_per_second": rate, name: rate * 3600.0 * abs(plan.dt) * factor}


def per_hour(states: InitialStates) -> tuple[str, float]:
    """What simulated time per hour is called, and its unit in the data's."""
    return ("ns_per_hour", _ASE_NANOSECONDS) if states.dataset.units.name == "ase" else ("tau_per_hour", 1.0)
