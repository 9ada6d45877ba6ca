"""The cache of a decoding batch with its attention in one kernel, for cards.

Shape letters as in cache.py, plus N = B·K.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from consilience.engine.cache import Cache, Plan
from consilience.nn.kernels.decode import decode_attention


class FusedCache(Cache):
    """`Cache` whose rows without shared prompts attend by `decode_attention`: it reads the columns a row has, where
    plain products read all columns of the store and write their scores. Rows behind shared prompts take those."""

    def _make_plan(self) -> Plan:
        start_N = np.repeat(self._start_B[: self.active], self.rows.config.n_kv_heads)
        self._start_N = torch.from_numpy(start_N).to(self.device)
        self._end_N = torch.empty_like(self._start_N)
        return super()._make_plan()

    def begin(self) -> None:
        """As `Cache.begin`."""
        super().begin()
        self._end_N.fill_(self.t + 1)

    def attend(self, layer: int, q_BHC: Tensor, k_BKC: Tensor, v_BKC: Tensor) -> Tensor:
        """As `Cache.attend`."""
        plan = self._plan
        assert plan is not None, "attend() runs between begin() and end()"
        if plan.lanes:
            return super().attend(layer, q_BHC, k_BKC, v_BKC)
        (b, h, c), k = q_BHC.shape, k_BKC.shape[1]
        keys, values = plan.keys[layer].mT, plan.values[layer]
        keys[:, self.t] = k_BKC.reshape(b * k, c)
        values[:, self.t] = v_BKC.reshape(b * k, c)
        q_NgC = q_BHC.reshape(b * k, h // k, c)
        return decode_attention(q_NgC, keys, values, self._start_N, self._end_N).view(b, h, c)
