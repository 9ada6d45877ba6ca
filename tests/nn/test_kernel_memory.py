"""What torch keeps of kernels it may never need again."""

from __future__ import annotations

import subprocess
import sys

SHAPES = """
import torch
torch.set_num_threads(1)

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

before = resident()
for i in range(1, 600):
    torch.mm(torch.ones(i % 40 + 1, 64 + i, dtype=torch.bfloat16), torch.ones(64 + i, 32, dtype=torch.bfloat16))
print(resident() - before)
"""


def test_products_of_many_shapes_leave_little_memory_behind() -> None:
    def grown(first: str) -> int:
        done = subprocess.run([sys.executable, "-c", first + SHAPES], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert grown("import consilience.nn") < 150
