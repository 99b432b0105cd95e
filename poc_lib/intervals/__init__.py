"""Intervals that honour blocks, waves and near-duplicate frames. Pure: tables and arrays in, numbers out."""

from poc_lib.intervals.groups import group_frames
from poc_lib.intervals.rates import latency_intervals, rate_intervals
from poc_lib.intervals.settle import blocks_to_settle, frames_to_settle, spanned_thresholds
from poc_lib.intervals.shares import wall_shares
from poc_lib.intervals.simple import (
    MeanInterval,
    ShareInterval,
    mean_interval,
    paired_mean_interval,
    share_interval,
)
from poc_lib.intervals.speedups import estimate_speedups

__all__ = [
    "MeanInterval",
    "ShareInterval",
    "blocks_to_settle",
    "estimate_speedups",
    "frames_to_settle",
    "group_frames",
    "latency_intervals",
    "mean_interval",
    "paired_mean_interval",
    "rate_intervals",
    "share_interval",
    "spanned_thresholds",
    "wall_shares",
]
