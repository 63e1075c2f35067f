"""The engine of a pair model with cutoffs: compiled steps over columns of particles, on any number of threads."""

from __future__ import annotations

from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.kernels.pair_forces import LawRows


class CutoffEngine(AbstractColumnsEngine[LawRows]):
    """Particles that meet within cutoffs, p/m velocities, an explicit composition."""

    def _acting(self) -> tuple[LawRows, None]:
        return self._compiled.kernel, None
