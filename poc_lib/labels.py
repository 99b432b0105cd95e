"""Human labels: what an answer to a frame must contain and must not. They judge where they exist."""

import csv
from pathlib import Path

import pandas as pd

from poc_lib.records import Finding, Frame, SetupProblem
from poc_lib.runs import Run, read_frames, replace_file
from poc_lib.text import csv_cell

COLUMNS = ("frame_id", "frame", "stored_description", "must_contain", "must_not_contain")
N_LABELLED = 15
SEPARATOR = ";"
TEMPLATE = "`python -m poc_lib labels` writes a template"


def write_label_template(run: Run) -> tuple[Path, int]:
    """Write labels.csv into the run's folder, frames spread over the recording; one that lies there is kept.

    Returns its path and how many frames it names. Words are separated by semicolons.
    """
    path, frames = run.folder / "labels.csv", read_frames(run)
    chosen = frames[:: max(1, len(frames) // N_LABELLED)][:N_LABELLED]
    if not path.exists():
        texts = ["" if frame.reference is None else frame.reference.description for frame in chosen]
        cells = zip((f.frame_id for f in chosen), (f.label for f in chosen), texts, strict=True)
        table = pd.DataFrame([[*map(csv_cell, row), "", ""] for row in cells], columns=list(COLUMNS))
        replace_file(path, table.to_csv(index=False).encode())
    return path, len(chosen)


def read_labels(path: Path, frames: dict[str, Frame]) -> dict[str, tuple[list[str], list[str]]]:
    """The words each labelled frame must and must not have, by frame_id; frames without any are left out.

    Raises:
        SetupProblem: no such file, not such a CSV, or it labels other frames than the run's.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupProblem(f"cannot read labels from {path} ({error}): {TEMPLATE}") from None
    missing = set(COLUMNS) - {"frame", "stored_description"} - set(rows[0] if rows else COLUMNS)
    if missing:
        raise SetupProblem(f"{path} lacks the columns {', '.join(sorted(missing))}: {TEMPLATE}")
    labels = {}
    for row in rows:
        must, must_not = (
            [word.strip().casefold() for word in (row[column] or "").split(SEPARATOR) if word.strip()]
            for column in ("must_contain", "must_not_contain")
        )
        if must or must_not:
            labels[row["frame_id"].lstrip("'")] = (must, must_not)
    if labels and not labels.keys() & frames.keys():
        raise SetupProblem(f"{path} labels other frames than this run's: write a template for this run")
    return labels


def label_findings(answers: pd.DataFrame, labels: dict[str, tuple[list[str], list[str]]]) -> list[Finding]:
    """How many answers of each server and level say what the labels ask for and nothing they forbid."""
    rows = answers[answers["error_class"].isna() & answers["frame_id"].isin(labels)]
    findings = []
    for (server, level), group in rows.groupby(["server", "concurrency"]):
        right = [
            all(word in text.casefold() for word in labels[frame][0])
            and not any(word in text.casefold() for word in labels[frame][1])
            for frame, text in zip(group["frame_id"], group["text"], strict=True)
        ]
        share = sum(right) / len(right)
        count = f"{sum(right)} of {len(right)} answers fit the human labels ({share:.0%})"
        text = f"{server} at {level} in flight: {count}"
        findings.append(
            Finding("labels", "ok" if share > 0.8 else "warning", text, server=server, level=level)
        )
    return findings
