"""The pairs that a calibration rests on: answers with their own frame's reference, and with other frames'."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd

from poc_lib.accuracy.clusters import frame_groups, group_labels, looks_different
from poc_lib.accuracy.facts import Facts, share_held, share_held_matrix
from poc_lib.accuracy.matrices import difflib_sample, similarity_matrix
from poc_lib.accuracy.pairs import MEASURES, Embeddings, run_vectors, score_pairs
from poc_lib.accuracy.separation import OwnOther
from poc_lib.accuracy.sides import NO_FACTS, Side, answer_sides, ocr_facts
from poc_lib.accuracy.similarity import TextVectors

OCR_SHARE = "ocr_share"
ByFrame = Mapping[str, Mapping[int, Side]]  # frame_id -> block -> answer


@dataclass(frozen=True, slots=True)
class RunSides:
    """A run's measured answers, and what of its frames decides which of them may be held together."""

    rows: pd.DataFrame  # sides.measured, index 0 .. n - 1
    sides: list[Side]  # the answer of each row
    frame_ids: list[str]  # f frames
    group: np.ndarray  # f group numbers, near-duplicates together
    different: np.ndarray  # f × f truth values: known to look different
    vectors: TextVectors
    embeddings: Embeddings | None
    ocr: Mapping[str, Facts]


def read_sides(
    rows: pd.DataFrame,
    frames: pd.DataFrame,
    references: Mapping[str, Side],
    embeddings: Embeddings | None = None,
) -> RunSides:
    """Parse a run's measured rows once.

    Args:
        rows: of ``sides.measured``, with frames of the frames table only.
        references: the stored references, whose texts belong to the vocabulary.
    """
    sides = answer_sides(rows)
    frame_ids = list(dict.fromkeys(frames["frame_id"]))
    labels = group_labels(pd.Series(frame_ids, dtype=object), frame_groups(frames))
    return RunSides(
        rows=rows,
        sides=sides,
        frame_ids=frame_ids,
        group=pd.factorize(labels)[0],
        different=looks_different(frames, frame_ids),
        vectors=run_vectors([*sides, *references.values()]),
        embeddings=embeddings,
        ocr=ocr_facts(frames),
    )


def pairs_of_level(
    run: RunSides, level: pd.DataFrame, references: Mapping[str, Side], with_ocr: bool = False
) -> Iterator[tuple[str, OwnOther]]:
    """Measure by measure, to hold one matrix at a time, the own and the other pairs of one server's level.

    Args:
        level: its rows of ``run.rows``.
        references: what the answers are held against, by frame_id.
        with_ocr: whether ``ocr_share`` is among the measures, where OCR texts are stored.
    """
    position = {frame_id: i for i, frame_id in enumerate(run.frame_ids)}
    own_frame = level["frame_id"].map(position).to_numpy()
    answers = [run.sides[row] for row in level.index]
    nothing = Side(problem="no reference")
    others = [references.get(frame_id, nothing) for frame_id in run.frame_ids]
    own = score_pairs(answers, [others[i] for i in own_frame], run.vectors, run.embeddings)
    first = _first_answers(answers, own_frame, len(run.frame_ids))
    for measure in MEASURES:
        if measure != "embedding_cosine" or run.embeddings is not None:
            other = _other_matrix(measure, run, first, others)
            yield measure, OwnOther(own[measure].to_numpy(), own_frame, other, run.group)
    if with_ocr and run.ocr:
        yield OCR_SHARE, _ocr_pairs(run, answers, own_frame, first)


def lowest_level(rows: pd.DataFrame, server: str) -> pd.DataFrame:
    """The rows of a server at its lowest level."""
    of_server = rows[rows["server"] == server]
    return of_server[of_server["concurrency"] == of_server["concurrency"].min()]


def by_frame(run: RunSides, level: pd.DataFrame) -> ByFrame:
    """A level's answers that came, by frame and block."""
    found: dict[str, dict[int, Side]] = {}
    for row in level.itertuples():
        if not run.sides[row.Index].problem:
            found.setdefault(row.frame_id, {})[row.block] = run.sides[row.Index]
    return found


def agreement_with_itself(run: RunSides, answers: ByFrame) -> pd.DataFrame:
    """How alike the answers to one frame are in different blocks, both orders of each two blocks.

    Returns:
        One row per frame with two answers or more, on the index frame_id: the mean of each measure, and
        ``same_text``, the share of pairs whose compared texts are letter for letter equal.
    """
    pairs = [
        (frame_id, a, b) for frame_id, blocks in answers.items() for a, b in permutations(blocks.values(), 2)
    ]
    left, right = [pair[1] for pair in pairs], [pair[2] for pair in pairs]
    scored = score_pairs(left, right, run.vectors, run.embeddings)
    same_text = [float(a.text == b.text) for a, b in zip(left, right, strict=True)]
    frame_id = pd.Series([pair[0] for pair in pairs], dtype=object, name="frame_id")
    return scored[list(MEASURES)].assign(same_text=same_text).groupby(frame_id, sort=False).mean()


def _first_answers(answers: list[Side], own_frame: np.ndarray, n_frames: int) -> list[Side]:
    first = [Side(problem="no answer")] * n_frames
    for side, frame in zip(reversed(answers), reversed(own_frame), strict=True):
        if not side.problem:
            first[frame] = side
    return first


def _other_matrix(measure: str, run: RunSides, first: list[Side], others: list[Side]) -> np.ndarray:
    if measure == "difflib_ratio":
        return difflib_sample(first, others, run.different)
    matrix = similarity_matrix(measure, first, others, run.vectors, run.embeddings)
    return np.where(run.different, matrix, np.nan)


def _ocr_pairs(run: RunSides, answers: list[Side], own_frame: np.ndarray, first: list[Side]) -> OwnOther:
    seen = [run.ocr.get(frame_id) for frame_id in run.frame_ids]
    own = [
        np.nan if seen[frame] is None else share_held(side.facts.named, seen[frame])
        for side, frame in zip(answers, own_frame, strict=True)
    ]
    matrix = share_held_matrix([one.facts for one in first], [one or NO_FACTS for one in seen])
    matrix[:, [one is None for one in seen]] = np.nan
    return OwnOther(np.array(own), own_frame, np.where(run.different, matrix, np.nan), run.group)
