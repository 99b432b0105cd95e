"""The demo's rows: three recordings and the always-on recorder, with the awkward rows of real files."""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image

from poc_lib.demo.script import Shot
from poc_lib.demo.wording import Answer, fresh_answer, stored_answer

MAIN_ID = "cap-2026-11-20-standup-and-release"
OLDER_ID = "cap-2026-11-13-port-reports"
SENTINEL_ID = "__recorder__"
SECONDS_BETWEEN = 18

# When each recording's first frame was taken. The recorder's is noon UTC, the same day in nearly every zone.
STARTS = {
    "main": datetime(2026, 11, 20, 9, 4, 31, tzinfo=UTC),
    "older": datetime(2026, 11, 13, 14, 20, 5, tzinfo=UTC),
    "recorder": datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC),
}
MODELS = {MAIN_ID: "mlx-community/Qwen3-VL-2B-Instruct-4bit", OLDER_ID: "qwen3-vl:4b"}

# Rows of the main recording that hold no usable reference, by their place in it.
PLACEHOLDERS: dict[int, tuple[str | None, str | None]] = {
    9: (None, None),
    19: ("", None),
    24: ("No description available", "other"),
    33: ("Parse error: no field 'activity' in the reply", "other"),
    46: ("Failed to parse Frame 3 of the batch", "other"),
    57: ("The picture shows a web browser. Let me look at the details of the page first", "unknown"),
}
MISSING_FILES = (14, 38, 61)
PLAIN_LISTS = (5, 29)  # apps and topics as "A, B"
NO_LISTS = (12, 50)  # apps and topics NULL, as a migration left them


@dataclass(frozen=True, slots=True)
class Take:
    """A shot with its ids, its moment and what was and would be said about it."""

    shot: Shot
    number: int  # place in its recording, from 0
    observation_id: str
    frame_id: str  # of the recorder's own table
    moment: datetime
    offset_s: float  # seconds from its recording's start
    stored: Answer
    fresh: Answer


def plan_takes(shots: list[Shot], seed: int) -> list[Take]:
    """Ids, times and answers for every shot; the same for the same seed."""
    rng = random.Random(seed)
    count = dict.fromkeys(STARTS, 0)
    takes = []
    for shot in shots:
        number = count[shot.recording]
        offset_s = round(number * SECONDS_BETWEEN + rng.uniform(0, 4), 2)
        stored = stored_answer(shot, rng)
        takes.append(
            Take(
                shot=shot,
                number=number,
                observation_id=str(uuid.UUID(int=rng.getrandbits(128))),
                frame_id=str(uuid.UUID(int=rng.getrandbits(128))).upper(),
                moment=STARTS[shot.recording] + timedelta(seconds=offset_s),
                offset_s=offset_s,
                stored=stored,
                fresh=fresh_answer(shot, stored, rng),
            )
        )
        count[shot.recording] += 1
    return takes


def image_name(take: Take) -> str:
    """The file's place under the demo's folder, as the app names such files."""
    if take.shot.recording == "recorder":
        return f"frames/{take.moment:%Y-%m-%d}/{int(take.moment.timestamp() * 1000)}_1.jpg"
    recording = MAIN_ID if take.shot.recording == "main" else OLDER_ID
    return f"tmp/{recording}/frames/frame_{take.number + 1:06d}.jpg"


def has_image(take: Take) -> bool:
    """Whether the file exists; the system purges some."""
    return not (take.shot.recording == "main" and take.number in MISSING_FILES)


def recording_rows() -> Iterator[dict[str, Any]]:
    """The newest row is the recorder's sentinel, which has no frames."""
    yield _recording(OLDER_ID, STARTS["older"] + timedelta(seconds=95), 95.0)
    yield _recording(MAIN_ID, STARTS["main"] + timedelta(seconds=1216), 1216.4)
    yield {
        "id": SENTINEL_ID,
        "duration": 0,
        "captured_at": "2026-11-21 08:00:00",
        "status": "processed",
        "processing_step": "complete",
        "source_type": "raw",
        "source_metadata": '{"type":"recorder_sentinel"}',
    }


def observation_row(take: Take, image_path: str) -> dict[str, Any]:
    """The row of a take, made awkward where the plan says so."""
    recorder, main = take.shot.recording == "recorder", take.shot.recording == "main"
    row = {
        "id": take.observation_id,
        "recording_id": None if recorder else (MAIN_ID if main else OLDER_ID),
        "frame_id": take.frame_id if recorder else None,
        "type": "visual",
        "timestamp": take.moment.timestamp() if recorder else take.offset_s,
        "end_timestamp": None if recorder else take.offset_s,
        "image_path": image_path,
        "vlm_description": take.stored.description,
        "activity_type": take.stored.activity,
        "apps": json.dumps(take.stored.apps),
        "topics": json.dumps(take.stored.topics),
        "created_at": f"{take.moment + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}.000Z",
    }
    return row | _awkward(take) if main else row


def audio_row() -> dict[str, Any]:
    """What was said in the main recording; it has no picture."""
    return {
        "id": "audio-1",
        "recording_id": MAIN_ID,
        "type": "audio",
        "timestamp": 700.0,
        "end_timestamp": 731.5,
        "text": "So what is left for release 0.9 is the datum shift at Esbjerg.",
        "audio_source": "mic",
        "audio_type": "speech",
    }


def frame_row(take: Take, image_path: str, image: Image.Image, analyzed: int) -> dict[str, Any]:
    """The recorder's own row about a picture that it took."""
    return {
        "id": take.frame_id,
        "display_id": "1",
        "captured_at": f"{take.moment:%Y-%m-%dT%H:%M:%SZ}",
        "timestamp": take.moment.timestamp(),
        "image_path": image_path,
        "phash": _difference_hash(image),
        "width": image.width,
        "height": image.height,
        "analyzed": analyzed,
        "retry_count": 3 if analyzed == 2 else 0,
    }


def processing_rows(n_main: int, n_older: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Table and row of each processing run: the app's own speed, with two different models."""
    for recording_id, n_frames, s_per_frame, started in (
        (OLDER_ID, n_older, 8.12, STARTS["older"] + timedelta(minutes=30)),
        (MAIN_ID, n_main, 2.74, STARTS["main"] + timedelta(minutes=30)),
    ):
        duration_ms = round(n_frames * s_per_frame * 1000)
        ended = started + timedelta(milliseconds=duration_ms)
        span = {
            "started_at": f"{started:%Y-%m-%dT%H:%M:%S}.000Z",
            "completed_at": f"{ended:%Y-%m-%dT%H:%M:%S}.000Z",
        }
        metadata = {"vlm_model": MODELS[recording_id], "llm_model": "qwen3:32b", "platform": "darwin"}
        run = {"id": f"run-{recording_id}", "recording_id": recording_id, "run_type": "initial"}
        yield (
            "processing_runs",
            run
            | span
            | {"status": "completed", "total_duration_ms": duration_ms, "metadata": json.dumps(metadata)},
        )
        stat = {"id": f"stat-{recording_id}", "run_id": run["id"], "phase": "vlm-batch-inference"}
        counts = {"duration_ms": duration_ms, "items_total": n_frames, "items_processed": n_frames}
        yield "processing_stats", stat | span | counts | {"status": "success"}


def answer_entry(take: Take, frame_id: str) -> dict[str, Any]:
    """The simulated servers' knowledge about a picture."""
    return {"frame_id": frame_id} | asdict(take.fresh)


def _recording(recording_id: str, captured_at: datetime, duration_s: float) -> dict[str, Any]:
    return {
        "id": recording_id,
        "video_path": f"/Movies/Cap/{recording_id}.cap/content/output.mp4",
        "duration": duration_s,
        "captured_at": f"{captured_at:%Y-%m-%dT%H:%M:%S}.000Z",
        "status": "published",
        "processing_step": "complete",
        "source_type": "cap",
        "source_metadata": "{}",
    }


def _awkward(take: Take) -> dict[str, Any]:
    if take.number in PLACEHOLDERS:
        description, activity = PLACEHOLDERS[take.number]
        return {"vlm_description": description, "activity_type": activity, "apps": "[]", "topics": "[]"}
    if take.number in PLAIN_LISTS:
        return {"apps": ", ".join(take.stored.apps), "topics": ", ".join(take.stored.topics)}
    return {"apps": None, "topics": None} if take.number in NO_LISTS else {}


def _difference_hash(image: Image.Image) -> str:
    """64 bits, one for each pixel of a 9 × 8 grey image that is darker than its right neighbour."""
    pixels = image.convert("L").resize((9, 8)).tobytes()
    bits = [pixels[9 * y + x] < pixels[9 * y + x + 1] for y in range(8) for x in range(8)]
    return f"{sum(bit << i for i, bit in enumerate(bits)):016x}"
