"""Escribano's database, read only: its frames with stored references, and its past speed."""

from poc_lib.database.frames import Selection, read_past_speed, select_frames

__all__ = ["Selection", "read_past_speed", "select_frames"]
