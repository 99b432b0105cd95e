"""The state of each level: a proven leak, a suspicion, none found, or cannot be judged; in one sentence."""

from dataclasses import dataclass

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Tone
from poc_lib.report.quality.words import at_level, expected, found_words, p_value

LEAK, SUSPICION, NONE_FOUND, NOT_TOLD = "leak", "suspicion", "none found", "cannot be judged"
TONES: dict[str, Tone] = {LEAK: "bad", SUSPICION: "warn", NONE_FOUND: "good", NOT_TOLD: "warn"}
SIGN_PHRASES = {
    "wrong_neighbours": "judged answers fit another frame's reference",
    "duplicates": "answers repeat the one to a frame that looks different",
    "replays": "answers repeat an earlier one too fast",
    "misplaced": "answers are like what is said of another image without load",
}


@dataclass(frozen=True, slots=True)
class LevelState:
    """What is known of one server's level."""

    server: str
    concurrency: int
    state: str
    sentence: str
    n_judged: int

    @property
    def tone(self) -> Tone:
        """Proven: bad; suspected: warn; none found: good."""
        return TONES[self.state]


def level_states(analysis: Analysis) -> list[LevelState]:
    """One state per server and level, leaks first, then suspicions; within these by level."""
    levels = [_state(analysis, row) for _, row in analysis.confusion.iterrows()]
    order = [LEAK, SUSPICION, NOT_TOLD, NONE_FOUND]
    return sorted(levels, key=lambda one: order.index(one.state))


def _state(analysis: Analysis, row: pd.Series) -> LevelState:
    canaries = analysis.canaries
    if len(canaries):
        same = (canaries["server"] == row["server"]) & (canaries["concurrency"] == row["concurrency"])
        canaries = canaries[same]
    n_leaks = int(canaries["n_leaks"].sum()) if len(canaries) else 0
    state = LEAK if n_leaks else row["state"]
    parts = [_sign_words(analysis, row), _canary_words(canaries, n_leaks)]
    text = "; ".join(reversed(parts) if n_leaks else parts)
    sentence = f"{at_level(row)}: {_name(state)}; {text}."
    return LevelState(row["server"], int(row["concurrency"]), state, sentence, int(row["n_judged"]))


def _name(state: str) -> str:
    return {LEAK: "mix-up proven", SUSPICION: "mix-up suspected", NONE_FOUND: "no mix-up found"}.get(
        state, state
    )


def _sign_words(analysis: Analysis, row: pd.Series) -> str:
    """The clearest sign of a suspicion with its test; or else how many wrong neighbours there are."""
    sign = row["clearest_sign"] if row["state"] == SUSPICION else "wrong_neighbours"
    signs = analysis.signs
    at = (signs["server"] == row["server"]) & (signs["concurrency"] == row["concurrency"])
    found = signs[at & (signs["sign"] == sign)].iloc[0]
    if not found["n"]:
        return "no answer could be told to fit any image"
    text = found_words(found["count"], found["n"], found["high"], SIGN_PHRASES[sign])
    if row["state"] == SUSPICION:
        by_chance = f"{expected(found['expected'])} expected by chance"
        return f"{text}; {by_chance}, {p_value(row['p_adjusted'])} over all tests"
    odd = int(row[list(SIGN_PHRASES)].sum() - found["count"])
    return f"{text}{f', {odd} of other signs, within chance' if odd else ''}"


def _canary_words(canaries: pd.DataFrame, n_leaks: int) -> str:
    if canaries.empty:
        return "no canaries sent"
    n_judged = int(canaries["n_judged"].sum())
    if n_leaks:
        return f"{n_leaks} of {n_judged} answers with a code hold another image's code"
    if not canaries["usable"].all():
        return "canaries not usable with this model"
    missing = int(canaries["n_not_read"].sum())
    text = f"no canary's code in another answer ({n_judged} read)"
    return f"{text}, {missing} not read" if missing else text
