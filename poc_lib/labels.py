"""Human labels: the CSV file that says what the answers to some frames must hold.

One row a frame: frame_id; description, must_contain, must_not_contain, activity, apps, each of them optional.
must_contain, must_not_contain and apps are lists with semicolons; "VS Code|Visual Studio Code" in a list of
what an answer must contain means either.
"""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from poc_lib.answers import ACTIVITIES
from poc_lib.errors import SetupProblem

LABEL_COLUMNS = ("frame_id", "description", "must_contain", "must_not_contain", "activity", "apps")
HINT_COLUMNS = ("image_path",)  # where the labeller finds the screenshot; not read back
LISTS = ("must_contain", "must_not_contain", "apps")


def read_labels(path: Path, frame_ids: Collection[str], strict: bool = True) -> pd.DataFrame:
    """The labels of a run's frames; rows that label nothing are left out.

    Args:
        path: a CSV file in UTF-8, with commas, semicolons or tabs between its columns.
        frame_ids: the run's frames.
        strict: whether a label for any other frame is an error; False: it is left out.

    Returns:
        One row a labelled frame with LABEL_COLUMNS; lists are tuples; None: not labelled.

    Raises:
        SetupProblem: no such file, not UTF-8, a column or cell that cannot be read, a frame labelled twice
            or unknown to the run, or no label for any frame of the run.
    """
    rows = [_label(path, line, row) for line, row in _read_rows(path)]
    labels = pd.DataFrame(rows, columns=list(LABEL_COLUMNS), dtype=object)
    twice = labels.loc[labels["frame_id"].duplicated(), "frame_id"].tolist()
    if twice:
        raise SetupProblem(f"{path.name} labels {_some(twice)} twice: keep one row a frame")
    filled = labels[labels.drop(columns="frame_id").notna().any(axis=1)]
    if filled.empty:
        raise SetupProblem(f"{path.name} has no label filled in: fill one column besides frame_id in a row")
    known = filled["frame_id"].isin(set(frame_ids))
    if not known.any():
        raise SetupProblem(
            f"{path.name} has nothing for this run: it labels {_some(filled['frame_id'])}, of the run's "
            f"{len(frame_ids)} frames none: label the run's own frames, write a template to have their ids"
        )
    if strict and not known.all():
        raise SetupProblem(
            f"{path.name} labels frames that this run did not send: {_some(filled.loc[~known, 'frame_id'])}: "
            "correct the frame_id or take the rows out"
        )
    return filled[known].reset_index(drop=True)


def write_label_template(path: Path, frames: pd.DataFrame, n: int) -> list[str]:
    """Write a CSV to be filled in, with n of the run's frames spread evenly in time.

    The stored description is left out on purpose: a labeller who reads it first agrees with it.

    Args:
        path: the file to write; its folder must exist.
        frames: one row a frame with ``frame_id``, ``timestamp_s`` and ``image_path``.
        n: frames to label; all where there are fewer.

    Returns:
        The frame ids written, in time order.

    Raises:
        SetupProblem: the file is there already, or n is not positive.
    """
    if n < 1:
        raise SetupProblem(f"a template for {n} frames: give at least 1")
    ordered = frames.sort_values("timestamp_s", kind="stable").to_dict("records")
    kept = min(n, len(ordered))
    chosen = [ordered[(2 * i + 1) * len(ordered) // (2 * kept)] for i in range(kept)]
    columns = [*LABEL_COLUMNS, *HINT_COLUMNS]
    try:
        with path.open("x", encoding="utf-8-sig", newline="") as file:  # with its mark, or Excel misreads ö
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows({name: row[name] for name in ("frame_id", *HINT_COLUMNS)} for row in chosen)
    except FileExistsError as error:
        raise SetupProblem(
            f"{path} is there already: give another name, so that no labels are lost"
        ) from error
    return [row["frame_id"] for row in chosen]


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line number and the cells by column name of each row that is not empty."""
    if not path.is_file():
        raise SetupProblem(f"no label file {path}: write a template, fill it in and name it as 'labels'")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SetupProblem(f"{path.name} is not UTF-8: save it as 'CSV UTF-8'") from error
    lines = text.splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    _check_header(path, header)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            raise SetupProblem(
                f"{path.name}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns: put "
                "quotes around a cell that holds the separator"
            )
        yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=False))


def _check_header(path: Path, header: list[str]) -> None:
    known = ", ".join(LABEL_COLUMNS)
    if "frame_id" not in header:
        raise SetupProblem(
            f"{path.name} has no column frame_id, its first line is '{', '.join(header)[:80]}': expected "
            f"some of {known}"
        )
    unknown = [name for name in header if name not in (*LABEL_COLUMNS, *HINT_COLUMNS)]
    if unknown:
        raise SetupProblem(f"{path.name} has an unknown column {_some(unknown)}: expected some of {known}")
    if not set(header) & set(LABEL_COLUMNS[1:]):
        raise SetupProblem(f"{path.name} labels nothing, it has only frame_id: expected some of {known}")


def _label(path: Path, line: int, row: dict[str, str]) -> dict:
    if not row.get("frame_id"):
        raise SetupProblem(f"{path.name}, line {line}: no frame_id: name the frame or take the row out")
    activity = row.get("activity", "").lower() or None
    if activity and activity not in ACTIVITIES:
        raise SetupProblem(
            f"{path.name}, line {line}: activity '{activity}': expected one of {', '.join(ACTIVITIES)}"
        )
    lists = {name: tuple(part.strip() for part in row.get(name, "").split(";")) for name in LISTS}
    return {
        "frame_id": row["frame_id"],
        "description": row.get("description") or None,
        "activity": activity,
    } | {name: tuple(filter(None, parts)) or None for name, parts in lists.items()}


def _some(names: Collection[str]) -> str:
    shown = list(names)[:3]
    more = len(names) - len(shown)
    return ", ".join(f"'{name}'" for name in shown) + (f" and {more} more" if more else "")
