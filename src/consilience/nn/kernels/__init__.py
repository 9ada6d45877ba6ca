"""Kernels for what decoding waits for: split-KV attention and experts. Triton on CUDA, torch elsewhere."""
