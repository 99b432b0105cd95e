"""Escribano's database, read only: recordings, frames, stored references, missing images, past speed."""

from poc_lib.escribano.frames import read_frames
from poc_lib.escribano.opening import open_database
from poc_lib.escribano.recordings import read_recordings
from poc_lib.escribano.recovery import recover_images
from poc_lib.escribano.sampling import count_frames, sample_frames
from poc_lib.escribano.speed import PastSpeed, read_past_speed

__all__ = [
    "PastSpeed",
    "count_frames",
    "open_database",
    "read_frames",
    "read_past_speed",
    "read_recordings",
    "recover_images",
    "sample_frames",
]
