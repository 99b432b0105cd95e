"""How fast the app itself was in the past, by its own notes."""

from dataclasses import dataclass
from pathlib import Path

from poc_lib.escribano.opening import open_database
from poc_lib.escribano.references import parse_vlm_model
from poc_lib.escribano.schema import read_columns

PHASE = "vlm-batch-inference"
# A resumed run notes all frames that were described before as processed in a few milliseconds: no speed.
SHORTEST_CREDIBLE_S = 0.01


@dataclass(frozen=True, slots=True)
class PastSpeed:
    """One finished run of the app's vision step: its whole time divided by its frames."""

    recording_id: str | None
    started_at: str | None  # ISO time
    model: str | None  # the vision model, where the app noted it
    n_frames: int
    duration_s: float
    s_per_frame: float


def read_past_speed(database: Path) -> list[PastSpeed]:
    """The app's own seconds per frame, newest first; empty where it noted none.

    Raises:
        SetupProblem: the file cannot be read.
    """
    with open_database(database) as connection:
        if not read_columns(connection, "processing_runs") or not read_columns(
            connection, "processing_stats"
        ):
            return []
        rows = connection.execute(
            """
            SELECT r.recording_id, coalesce(s.started_at, r.started_at) AS started_at, r.metadata,
                   s.items_processed AS n, s.duration_ms / 1000.0 AS duration_s
            FROM processing_stats s JOIN processing_runs r ON r.id = s.run_id
            WHERE s.phase = ? AND s.status = 'success'
              AND s.items_processed > 0 AND s.duration_ms > 0
            ORDER BY datetime(coalesce(s.started_at, r.started_at)) DESC
            """,
            (PHASE,),
        ).fetchall()
    speeds = [
        PastSpeed(
            recording_id=row["recording_id"],
            started_at=row["started_at"],
            model=parse_vlm_model(row["metadata"]),
            n_frames=row["n"],
            duration_s=row["duration_s"],
            s_per_frame=row["duration_s"] / row["n"],
        )
        for row in rows
    ]
    return [speed for speed in speeds if speed.s_per_frame >= SHORTEST_CREDIBLE_S]
