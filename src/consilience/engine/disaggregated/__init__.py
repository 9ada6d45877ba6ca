"""Attention and feed-forward parts of a decoder in processes of their own (Step-3, arXiv 2507.19427, §7.1)."""

from consilience.engine.disaggregated.launch import Disaggregated
from consilience.engine.disaggregated.layout import Decoded, Layout, Pace, WorkerLost

__all__ = ["Decoded", "Disaggregated", "Layout", "Pace", "WorkerLost"]
