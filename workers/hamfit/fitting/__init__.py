"""The fit: from datasets to a model.

problem, prediction              what is asked for, and what it will cost
first_look, reach, building      features, sampled from a few frames
preparing, basis                 whitened columns, ready to stream
shards, streaming, partial       rows, shard by shard, to states
part_stream, host_stream, device_stream   those of one part, on the processor or a device
residuals, refining              the second pass of mixed precision
frame_rows                       rows that belong to frames: energies, stresses
stage, merging                   states kept for a restart, merged in a fixed order
executors, cluster, warmup       threads of this process, or Dask workers
solving, caveats                 states to coefficients, and what to say of them
workspace, clock, driver         locks and resuming, timing, all of it in order
"""

from __future__ import annotations

from hamfit.fitting.driver import FitResult, fit, plan
from hamfit.fitting.prediction import Prediction

__all__ = ["FitResult", "Prediction", "fit", "plan"]
