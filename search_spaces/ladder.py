"""Ranges of what HVAE and HDN share that a study may search by their names alone: `space: {kl_ramp: {}}`."""

from __future__ import annotations

from typing import Any

FIXED: dict[str, dict[str, Any]] = {
    "kl_ramp": {"low": 0.0, "high": 0.5},
    "free_nats": {"low": 0.0, "high": 0.05},
    "log_var_range": {"choices": ((-8.0, 4.0), (-6.0, 2.0), (-12.0, 6.0))},
    "clip_norm": {"low": 0.1, "high": 10.0, "log": True},
    "skip_norm": {"choices": (0.0, 10.0, 100.0)},
    "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
    "ema_decay": {"choices": (0.9, 0.99, 0.999)},
}
