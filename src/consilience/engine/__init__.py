"""Fast sampling from `nn/`: batched key/value cache, continuous batching, seeded per sample."""

from consilience.engine.batch import Job, Output
from consilience.engine.core import Engine, Memory, Request, fast_dtype, memory
from consilience.engine.speculative import Speculation
from consilience.engine.speculative_law import Acceptance
from consilience.engine.vocabulary import Vocabulary, house

__all__ = [
    "Acceptance",
    "Engine",
    "Job",
    "Memory",
    "Output",
    "Request",
    "Speculation",
    "Vocabulary",
    "fast_dtype",
    "house",
    "memory",
]
