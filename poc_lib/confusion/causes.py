"""One line per suspicious answer: what it shows, the likeliest cause, and how much that weighs."""

from collections.abc import Iterator

import pandas as pd

from poc_lib.confusion.evidence import Evidence
from poc_lib.confusion.fits import OWN
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.placing import MISPLACED_CHANCE
from poc_lib.confusion.repeats import PREVIOUS, replays_among
from poc_lib.confusion.sources import REPLAY_FIRST, REPLAY_PREVIOUS, replayed_sources
from poc_lib.confusion.tables import CELL

WRONG_IMAGE = "wrong image"
DUPLICATE = "duplicate"
SUSPICION, WITHIN_CHANCE, NONE_FOUND, NOT_TOLD = (
    "suspicion",
    "within chance",
    "none found",
    "cannot be judged",
)
SUSPICIOUS_COLUMNS = (*CELL, "frame_id", "other_frame_id", "sign", "cause", "state", "signs", "evidence")


def name_causes(
    evidence: Evidence, frames: pd.DataFrame, suspicious_levels: set[tuple], limits: ConfusionLimits
) -> pd.DataFrame:
    """One row per answer with a sign, in sending order, with SUSPICIOUS_COLUMNS.

    The cause is the most specific one that the signs bear out: a replay (too fast, or of the frame that most
    of a level's wrong answers are about, see ``replayed_sources``); else a wrong image (it fits another one);
    else a duplicate. A duplicate whose answer clearly fits its own image is put down to the answer that it
    equals, if that one does not. ``state``: "suspicion" at a level where the signs exceed chance, unless
    the same frame is taken for the same other one at a level where they do not; else "within chance".
    """
    signs: dict[int, list[tuple]] = {}
    for index, *sign in _all_signs(evidence):
        signs.setdefault(index, []).append(tuple(sign))
    replayed = replayed_sources(evidence, frames, limits)
    calm = _seen_at_calm_levels(evidence, suspicious_levels)
    rows = []
    for index in sorted(signs):
        answer, found = evidence.answers.loc[index], signs[index]
        sign, cause, other = found[0][:3]
        key = tuple(answer[name] for name in CELL)
        if cause == DUPLICATE:
            cause = replayed.get((*key, other), cause)
        cause = replayed.get(index, cause)
        suspicious = key[:-1] in suspicious_levels and (answer["frame_id"], other) not in calm
        state = SUSPICION if suspicious else WITHIN_CHANCE
        names, phrases = "; ".join(s[0] for s in found), "; ".join(s[3] for s in found)
        rows.append((*key, answer["frame_id"], other, sign, cause, state, names, phrases))
    return pd.DataFrame(rows, columns=list(SUSPICIOUS_COLUMNS))


def _seen_at_calm_levels(evidence: Evidence, suspicious_levels: set[tuple]) -> set[tuple[str, str]]:
    """(frame, the frame it fits instead) of the wrong neighbours at levels where nothing exceeds chance."""
    rows = evidence.wrong.itertuples(index=False)
    at_calm = [row for row in rows if (row.server, row.role, row.concurrency) not in suspicious_levels]
    return {(row.frame_id, row.fits_frame_id) for row in at_calm}


def _all_signs(evidence: Evidence) -> Iterator[tuple]:
    """(answer's index, sign, cause, other frame, phrase), the most specific signs first."""
    for row in replays_among(evidence.repeats).itertuples():
        cause = REPLAY_PREVIOUS if row.source == PREVIOUS else REPLAY_FIRST
        yield row.Index, "replay", cause, row.repeats, _replay_phrase(row)
    for row in evidence.wrong.itertuples():
        yield row.Index, "wrong neighbour", WRONG_IMAGE, row.fits_frame_id, _neighbour_phrase(row)
    for row in evidence.placed[evidence.placed["chance"] <= MISPLACED_CHANCE].itertuples():
        yield row.Index, "misplaced", WRONG_IMAGE, row.fits_frame_id, _misplaced_phrase(row)
    for index, frame_id, phrase in _blamed_duplicates(evidence):
        yield index, "duplicate", DUPLICATE, frame_id, phrase


def _blamed_duplicates(evidence: Evidence) -> Iterator[tuple[int, str, str]]:
    judgement = evidence.judged["judgement"]
    places = {}
    if len(evidence.duplicates):
        names = zip(*(evidence.answers[name] for name in [*CELL, "frame_id"]), strict=True)
        places = dict(zip(names, evidence.answers.index, strict=True))
    blamed = set()
    for row in evidence.duplicates.itertuples():
        index, other = row.Index, row.same_as
        earlier = places[(*(getattr(row, name) for name in CELL), row.same_as)]
        if judgement[index] == OWN and judgement[earlier] != OWN:
            index, other = earlier, row.frame_id
        if index not in blamed:
            blamed.add(index)
            yield index, other, _duplicate_phrase(row)


def _neighbour_phrase(row) -> str:
    together = ", in flight together" if row.in_flight_together else ""
    unloaded = ", also without load" if row.also_unloaded else ""
    return f"fits {row.other:.2f}, its own image {row.own:.2f}{together}{unloaded}"


def _misplaced_phrase(row) -> str:
    return (
        f"like what is said of the other image without load ({row.other_fit:.2f}; "
        f"of its own {row.own_fit:.2f}), by chance {row.chance:.1g}"
    )


def _duplicate_phrase(row) -> str:
    same = "same words" if row.same_words else "nearly the same words"
    return f"{same}; the frames differ in {row.distance} of 64 bits"


def _replay_phrase(row) -> str:
    return (
        f"nearly the same words ({row.cosine:.2f}) as the {row.source} after {row.ttft_s:.2f} s; "
        f"usual {row.usual_ttft_s:.2f} s"
    )
