"""Optimizers and learning-rate schedules."""

OPTIMIZERS = ("adamw", "muon")
"""What settings call them; `named.optimizer` makes one."""
