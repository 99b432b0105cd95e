"""Escribano's database, read only: its recordings, their frames with stored references, its past speed."""

from poc_lib.database.frames import Selection, read_past_speed, read_recordings, select_frames

__all__ = ["Selection", "read_past_speed", "read_recordings", "select_frames"]
