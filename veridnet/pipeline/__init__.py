"""Pipelines: stages declared in Python, run by lcores without the GIL.

::

    pipe = vn.Pipeline(rx=[a, b]).apply(table).rewrite("dec_ttl").forward({a: b, b: a})
    result = rt.run(pipe, duration=10)

`Pipeline` says what happens to packets; `veridnet.pipeline.arrange` which lcore does what
(``pipe.plan()`` shows it); `Running` is what runs.
"""

from veridnet.pipeline.native import NativeStage, native_stage
from veridnet.pipeline.pipeline import Pipeline
from veridnet.pipeline.plan import Plan
from veridnet.pipeline.running import Running
from veridnet.pipeline.stats import Stats

__all__ = ["NativeStage", "Pipeline", "Plan", "Running", "Stats", "native_stage"]
