"""The fit: from datasets to a model.

problem      what is asked for        survey, choosing, building   sample the features from a first look
basis        columns, whitened        shards, partial, streaming   rows, shard by shard, to states
executors    threads or Dask          solving                      states to coefficients
workspace    resume and locks         prediction                   cost before running
driver       all of it in order
"""

from __future__ import annotations

from hamfit.fitting.driver import FitResult, fit, plan
from hamfit.fitting.prediction import Prediction

__all__ = ["FitResult", "Prediction", "fit", "plan"]
