"""Human labels: what an answer to a frame must contain and must not. They judge where they exist."""

from pathlib import Path

import pandas as pd

from poc_lib.records import Finding, Frame, SetupProblem
from poc_lib.runs import Run, read_frames, replace_file
from poc_lib.text import csv_cell, one_line

N_LABELLED = 15


def write_label_template(run: Run) -> tuple[Path, int]:
    """Write labels.csv into the run's folder, frames spread over the recording; one that lies there is kept.

    Returns its path and how many frames it names. Words are separated by semicolons.
    """
    path, frames = run.folder / "labels.csv", read_frames(run)
    frames = frames[:: max(1, len(frames) // N_LABELLED)][:N_LABELLED]
    if not path.exists():
        rows = [(f.frame_id, f.label, getattr(f.reference, "description", "")) for f in frames]
        table = pd.DataFrame(rows, columns=["frame_id", "frame", "stored_description"]).map(csv_cell)
        replace_file(path, table.assign(must_contain="", must_not_contain="").to_csv(index=False).encode())
    return path, len(frames)


def judge_labels(path: Path, frames: dict[str, Frame], answers: pd.DataFrame) -> list[Finding]:
    """How many answers of each server and level say what the labels ask for and nothing they forbid.

    SetupProblem where there is no such CSV file, or it labels other frames than the run's.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        table = table[["frame_id", "must_contain", "must_not_contain"]]
    except (OSError, ValueError, KeyError) as error:
        problem = f"cannot read labels from {path} ({one_line(error)})"
        raise SetupProblem(f"{problem}: `python -m poc_lib labels` writes a template") from None
    labels = {}
    for frame_id, *cells in table.itertuples(index=False):
        words = [[word.strip() for word in cell.casefold().split(";") if word.strip()] for cell in cells]
        if any(words):
            labels[frame_id.lstrip("'")] = words  # csv_cell put the apostrophe there
    if labels and not labels.keys() & frames.keys():
        raise SetupProblem(f"{path} labels other frames than this run's: write a template for this run")
    rows, fits, findings = answers[answers["error_class"].isna() & answers["frame_id"].isin(labels)], [], []
    for frame_id, said in zip(rows["frame_id"], rows["text"].str.casefold(), strict=True):
        must, must_not = labels[frame_id]
        fits.append(all(word in said for word in must) and not any(word in said for word in must_not))
    for (server, level), right in rows.assign(fits=fits).groupby(["server", "concurrency"])["fits"]:
        text = f"{right.sum()} of {len(right)} answers fit the human labels ({right.mean():.0%})"
        state = "ok" if right.mean() > 0.8 else "warning"
        findings.append(Finding("labels", state, f"{server} at {level} in flight: {text}", "", server, level))
    return findings
