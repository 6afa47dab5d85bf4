"""Stands in for the stage `unet`: slow where it is told to be, and it fails in each way in which a stage can fail."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from safetensors.torch import save

WAYS = {0.002: "nan", 0.003: "raises", 0.004: "memory"}  # learning rate → what happens


@dataclass(frozen=True)
class Config:
    share_at_T: float = 0.25
    lr: float = 1e-3
    weight_decay: float = 1e-4
    num_epochs: int = 2
    epoch_s: float = 0.0

    def __post_init__(self) -> None:
        if self.lr == 0.005 and self.weight_decay < 2e-6:
            raise ValueError(f"`weight_decay >= 2e-6` must hold with `lr` 0.005, but is {self.weight_decay}.")


def needs(config):
    return ()


class Stage:
    def __init__(self, config, context):
        self.config, self.num_epochs, self.epoch = config, config.num_epochs, 0
        self.final = {}

    def train_epoch(self):
        time.sleep(self.config.epoch_s)
        way = WAYS.get(self.config.lr)
        if way == "raises":
            raise IndexError("index 7 is out of range for a mask of 3")
        if way == "memory":
            torch.empty(2**50)
        self.epoch += 1
        return {"train/loss": 1.0 / self.epoch, "val/psnr": 20.0 + self.epoch}

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]

    def finish(self):
        value = float("nan") if WAYS.get(self.config.lr) == "nan" else 20.0 + self.epoch
        self.final = {"val/psnr": value, "val/psnr_ri": value, "val/psnr_mean_over_levels": value}
        return {"weights.safetensors": save({"w": torch.zeros(1)})}
