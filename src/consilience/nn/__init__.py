"""Tokenizer, chat template and ONE decoder built from parts; published architectures configure it."""

import os

# On a CPU torch and oneDNN each keep the kernels of the last 1,024 shapes, more than half a gigabyte. Sampling meets a
# new shape every few steps and comes back to few of them: 32 are as fast.
for _cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "32")
