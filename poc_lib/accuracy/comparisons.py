"""Two questions kept apart: does parallelism cost quality, and does the model or its quantisation?"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from poc_lib.accuracy.clusters import Groups, frame_groups, group_labels
from poc_lib.accuracy.own_other import RunSides, agreement_with_itself, by_frame, lowest_level, read_sides
from poc_lib.accuracy.pairs import MEASURES, Embeddings, score_pairs
from poc_lib.accuracy.scores import STORED_REFERENCE, score_answers
from poc_lib.accuracy.sides import answer_sides, measured, reference_sides
from poc_lib.intervals.simple import paired_mean_interval

NOT_WORSE, WORSE, INCONCLUSIVE, NOT_JUDGEABLE = "not worse", "worse", "inconclusive", "not judgeable"
JUDGED_BY = "tfidf_cosine"  # the measure whose verdict is a level's or a model's; the others stand beside it
MIN_GROUPS = 5  # fewer groups of frames tell nothing that a verdict could rest on
LEVEL_MEASURES = (*MEASURES, "ocr_share")
OPTIONAL_MEASURES = ("embedding_cosine", "ocr_share")  # left out where the run has nothing to take them from
_JUDGED = ("difference", "low", "high", "n_frames", "n_groups", "margin", "verdict")
LEVELS_COLUMNS = (
    *("server", "role", "concurrency", "lowest_concurrency", "against", "measure"),
    *("mean_at_level", "mean_at_lowest", *_JUDGED, "n_missing"),
    *("same_text", "n_same_text", "same_text_at_lowest"),
)
MODELS_COLUMNS = (
    *("server", "role", "concurrency", "baseline", "baseline_concurrency", "measure"),
    *("with_baseline", "baseline_with_itself", *_JUDGED, "baseline_same_text"),
)


def compare_levels(
    requests: pd.DataFrame,
    frames: pd.DataFrame,
    margin: float,
    scores: pd.DataFrame | None = None,
    against: str = STORED_REFERENCE,
) -> pd.DataFrame:
    """Does a server answer worse under load than at its own lowest level, on the same frames?

    Args:
        requests, frames: as for ``score_answers``.
        margin: the loss of a measure that may be, 0 to 1.
        scores: of ``score_answers`` where it is at hand; None: computed here.
        against: whose texts both levels are held against, as in ``score_answers``.

    Returns:
        One row per (server, role, concurrency, measure) above the server's lowest level, with
        LEVELS_COLUMNS. Of each frame scored at both levels (n_frames in n_groups of near-duplicates) the mean
        over its blocks; ``difference`` is level - lowest, ``low`` and ``high`` its 95 % interval, paired by
        frame (intervals.paired_mean_interval). ``verdict``: see ``judge_margin``. ``n_missing``: scored
        at the lowest level alone, whose answers failed here. Diagnostics that no verdict uses: ``same_text``,
        the share of answers equal to the lowest level's of the same frame and block, and
        ``same_text_at_lowest``, the share equal in two blocks of that level, which is as much as to expect.
    """
    if scores is None:
        scores = score_answers(requests, frames, 0.5)
    held = scores[scores["against"] == against]
    groups = frame_groups(frames)
    rows = [
        row
        for _, of_server in held.groupby("server", sort=False)
        for row in _level_rows(of_server, groups, margin)
    ]
    table = _scored_rows(rows, LEVELS_COLUMNS).drop(columns=["same_text", "n_same_text"])
    same_text = _same_text(requests)
    table["same_text_at_lowest"] = table["server"].map(same_text["at_lowest"]).astype(float)
    table = table.merge(same_text["by_level"], on=["server", "concurrency"], how="left")
    return table[list(LEVELS_COLUMNS)]


def compare_models(
    requests: pd.DataFrame, frames: pd.DataFrame, margin: float, embeddings: Embeddings | None = None
) -> pd.DataFrame:
    """Does a candidate, at its lowest level, say other things than a baseline says again?

    Args: as for ``compare_levels``.

    Returns:
        One row per candidate, baseline and measure with MODELS_COLUMNS. Of each frame: the mean likeness of
        the candidate's answers to the baseline's (each block with each) less that of the baseline's answers
        to each other in different blocks, all at the lowest levels; ``difference`` is the mean over frames
        with its 95 % interval, paired by frame. So 0 is "as like the baseline as the baseline is to itself".
        "not judgeable" where the baseline has one block only. ``baseline_same_text``: share of its repeated
        answers that are letter for letter equal; near 1 (temperature 0) any rewording counts as a loss.
    """
    rows = measured(requests)
    if rows.empty or frames.empty:
        return pd.DataFrame(columns=list(MODELS_COLUMNS))
    run = read_sides(rows, frames, reference_sides(frames), embeddings)
    groups = frame_groups(frames)
    names = {role: rows.loc[rows["role"] == role, "server"].unique() for role in ("candidate", "baseline")}
    table = [
        row
        for candidate in names["candidate"]
        for baseline in names["baseline"]
        for row in _model_rows(run, candidate, baseline, groups, margin)
    ]
    return _scored_rows(table, MODELS_COLUMNS)


def judge_margin(low: float, high: float, margin: float, n_groups: int, at_stake: float = 1.0) -> str:
    """The verdict on a difference by its 95 % interval (non-inferiority, as in clinical trials).

    ``at_stake`` is the mean that could be lost: where it is below the margin, no loss can be as large.

    "not worse": the whole interval lies above -margin. "worse": all of it lies below. "inconclusive": -margin
    is inside. "not judgeable": no interval, nothing to lose, or fewer than MIN_GROUPS groups of frames.
    """
    if np.isnan(low) or np.isnan(high) or n_groups < MIN_GROUPS or at_stake < margin:
        return NOT_JUDGEABLE
    if low > -margin:
        return NOT_WORSE
    return WORSE if high < -margin else INCONCLUSIVE


def _scored_rows(rows: list[dict], columns: tuple[str, ...]) -> pd.DataFrame:
    kept = [row for row in rows if row["n_frames"] or row["measure"] not in OPTIONAL_MEASURES]
    return pd.DataFrame(kept, columns=list(columns))


def _level_rows(of_server: pd.DataFrame, groups: Groups, margin: float) -> Iterator[dict]:
    lowest = of_server["concurrency"].min()
    means = of_server.groupby(["concurrency", "frame_id"])[list(LEVEL_MEASURES)].mean()
    for concurrency in sorted(set(of_server["concurrency"]) - {lowest}):
        for measure in LEVEL_MEASURES:
            here, there = means.loc[concurrency, measure], means.loc[lowest, measure]
            differences = (here - there).dropna()
            yield {
                "server": of_server["server"].iloc[0],
                "role": of_server["role"].iloc[0],
                "concurrency": concurrency,
                "lowest_concurrency": lowest,
                "against": of_server["against"].iloc[0],
                "measure": measure,
                "mean_at_level": here[differences.index].mean(),
                "mean_at_lowest": there[differences.index].mean(),
                "n_missing": int(there.count() - len(differences)),
            } | _judged(differences, measure, groups, margin, there[differences.index].mean())


def _model_rows(
    run: RunSides, candidate: str, baseline: str, groups: Groups, margin: float
) -> Iterator[dict]:
    levels = {name: lowest_level(run.rows, name) for name in (candidate, baseline)}
    answers = {name: by_frame(run, level) for name, level in levels.items()}
    itself = agreement_with_itself(run, answers[baseline])
    pairs = [
        (frame_id, one, other)
        for frame_id, blocks in answers[candidate].items()
        for one in blocks.values()
        for other in answers[baseline].get(frame_id, {}).values()
    ]
    frame_id = pd.Series([pair[0] for pair in pairs], dtype=object, name="frame_id")
    scored = score_pairs([p[1] for p in pairs], [p[2] for p in pairs], run.vectors, run.embeddings)
    across = scored[list(MEASURES)].groupby(frame_id, sort=False).mean()
    for measure in MEASURES:
        differences = (across[measure] - itself[measure]).dropna()
        shared = differences.index
        yield {
            "server": candidate,
            "role": "candidate",
            "concurrency": levels[candidate]["concurrency"].min(),
            "baseline": baseline,
            "baseline_concurrency": levels[baseline]["concurrency"].min(),
            "measure": measure,
            "with_baseline": across.loc[shared, measure].mean() if len(shared) else across[measure].mean(),
            "baseline_with_itself": itself.loc[shared, measure].mean(),
            "baseline_same_text": itself["same_text"].mean(),
        } | _judged(differences, measure, groups, margin, itself.loc[shared, measure].mean())


def _judged(differences: pd.Series, measure: str, groups: Groups, margin: float, at_stake: float) -> dict:
    labels = group_labels(differences.index.to_series(), groups)
    found = paired_mean_interval(differences.to_numpy(), labels.to_numpy())
    low, high = found.low, found.high
    if measure == "activity_agrees" and low == high == 0:
        high = 1 - 0.025 ** (1 / found.n_groups)  # yes or no: no change among few excludes no rare one
        low = -high
    return {
        "difference": differences.mean(),
        "low": low,
        "high": high,
        "n_frames": found.n,
        "n_groups": found.n_groups,
        "margin": margin,
        "verdict": judge_margin(low, high, margin, found.n_groups, at_stake),
    }


def _same_text(requests: pd.DataFrame) -> dict:
    """Shares of letter for letter equal texts: by level against the lowest one, and inside the lowest."""
    rows = measured(requests)
    columns = ["server", "concurrency", "same_text", "n_same_text"]
    if rows.empty:
        return {"by_level": pd.DataFrame(columns=columns), "at_lowest": {}}
    sides = answer_sides(rows)
    texts = rows[["server", "concurrency", "block", "frame_id"]].assign(text=[side.text for side in sides])
    texts = texts[[not side.problem for side in sides]]
    lowest = texts[texts["concurrency"] == texts.groupby("server")["concurrency"].transform("min")]
    pairs = texts.merge(lowest, on=["server", "block", "frame_id"], suffixes=("", "_lowest"))
    pairs = pairs.assign(same_text=pairs["text"] == pairs["text_lowest"])
    by_level = pairs.groupby(["server", "concurrency"])["same_text"].agg(["mean", "size"]).reset_index()
    again = lowest.merge(lowest, on=["server", "frame_id"], suffixes=("", "_again"))
    again = again[again["block"] != again["block_again"]]
    equal = (again["text"] == again["text_again"]).groupby(again["server"]).mean()
    return {"by_level": by_level.set_axis(columns, axis=1), "at_lowest": equal.to_dict()}
