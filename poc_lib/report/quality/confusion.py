"""Is every answer about its own image? The state of each level first, then proof, then signs."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Block, Bullets, Cell, Heading, Note, Section, Table, Text
from poc_lib.report.quality.canaries import canary_blocks
from poc_lib.report.quality.heat_maps import heat_map_blocks
from poc_lib.report.quality.states import LEAK, NOT_TOLD, SUSPICION, LevelState, level_states
from poc_lib.report.quality.words import expected, frame_name, frame_numbers, of_n, p_value
from poc_lib.report.wording import cells, columns, count, list_words

MANY_ROWS = 40
ALWAYS_SHOWN = "wrong_neighbours"
SIGN_NAMES = {
    "wrong_neighbours": "wrong neighbours",
    "duplicates": "duplicates",
    "replays": "replays",
    "misplaced": "misplaced",
}
ABOUT_SIGNS = (
    "Signs in the answers to the recording's own frames, each tested against chance. Wrong neighbour: fits "
    "another frame's reference and not its own. Duplicate: one answer to two frames that look different. "
    "Replay: an earlier answer again, too fast. Misplaced: like what is said of another image without load. "
    "Frames that look alike never count, so a mix-up among them cannot be seen."
)


def confusion_section(analysis: Analysis) -> Section:
    """One sentence a level, canaries, signs with their tests, suspicious answers, heat maps."""
    states = level_states(analysis)
    blocks: list[Block] = [*_state_blocks(states), *canary_blocks(analysis), Heading("Signs: statistics")]
    blocks += [Text(ABOUT_SIGNS), Text(_look_alikes(analysis.confusion)), _signs_table(analysis)]
    if len(analysis.suspicious):
        blocks.append(_suspicious_table(analysis.suspicious, frame_numbers(analysis.frames)))
    blocks += [Heading("Answer against reference"), *heat_map_blocks(analysis)]
    return Section("confusion", "Image confusion", tuple(blocks))


def _state_blocks(states: list[LevelState]) -> list[Block]:
    """The headline, a note for each level with a problem, and a list of the others."""
    bad = [state for state in states if state.state in (LEAK, SUSPICION)]
    others = [state for state in states if state not in bad]
    notes = [Note(state.sentence, state.tone) for state in bad]
    if not others:
        return notes
    unknown = [state for state in others if state.state == NOT_TOLD]
    if bad:
        return [*notes, Bullets(tuple(state.sentence for state in others))]
    if unknown:
        where = list_words([f"{state.server} at {state.concurrency}" for state in unknown])
        headline = Note(
            f"No confusion found, but nothing could be told of {where}: no evidence either way.", "warn"
        )
    else:
        headline = Note(_clean_words(states), "good")
    return [headline, Bullets(tuple(state.sentence for state in others))]


def _clean_words(states: list[LevelState]) -> str:
    n = sum(state.n_judged for state in states)
    found = f"No sign of confusion among {count(n, 'judged answer')} at {count(len(states), 'level')}"
    return f"{found}; each level's bound says what could be missed."


def _look_alikes(confusion: pd.DataFrame) -> str:
    if confusion.empty:
        return "No level was measured."
    row = confusion.sort_values("n_frame_pairs").iloc[-1]
    alike, pairs = int(row["n_look_alike_pairs"]), int(row["n_frame_pairs"])
    held = int(confusion["n_unloaded_references"].sum())
    text = f"{alike:,} of {pairs:,} pairs of frames look alike."
    if held:
        were = count(held, "answer was", "answers were")
        text += f" For want of a stored reference, {were} held against an answer without load."
    return text


def _signs_table(analysis: Analysis) -> Table:
    signs = analysis.signs
    shown = signs[(signs["sign"] == ALWAYS_SHOWN) | (signs["count"] > 0)]
    rows = [_sign_row(row) for _, row in shown.iterrows()]
    titles = columns(
        "server", "in flight", "sign", "found", "expected by chance", "p", "p, all tests", "held against",
        text=("server", "sign", "found", "held against"),
    )  # fmt: skip
    caption = (
        "Found: count of answers, share, and the exact 95 % bound on it. p: probability of at "
        "least as many by "
        "chance; p, all tests: the same by Holm over all levels and signs, at most 0.01 for a suspicion. Not "
        "tested: nothing calmer to hold it against. A level's other signs were not seen once: "
        "tables/signs.csv."
    )
    return Table(caption, titles, tuple(rows))


def _sign_row(row: pd.Series) -> tuple[Cell, ...]:
    found = of_n(row["count"], row["n"], row["high"])
    adjusted = row["p_adjusted"]
    tone = "warn" if pd.notna(adjusted) and adjusted <= 0.01 else "plain"
    return cells(
        row["server"],
        str(row["concurrency"]),
        SIGN_NAMES[row["sign"]],
        Cell(found, tone),
        expected(row["expected"]),
        p_value(row["p_value"]),
        Cell(p_value(adjusted), tone),
        row["held_against"],
    )


def _suspicious_table(suspicious: pd.DataFrame, numbers: dict[str, int]) -> Table:
    ordered = suspicious.sort_values("state", key=lambda states: states != SUSPICION, kind="stable")
    shown = ordered.head(MANY_ROWS)
    rows = [
        cells(
            row.server,
            str(row.concurrency),
            str(row.block + 1),
            frame_name(row.frame_id, numbers),
            frame_name(row.other_frame_id, numbers),
            Cell(row.state, "warn" if row.state == SUSPICION else "muted"),
            row.cause,
            row.signs,
            row.evidence,
        )
        for row in shown.itertuples()
    ]
    titles = columns(
        "server", "in flight", "block", "answer to", "resembles", "state", "likeliest cause",
        "signs", "evidence",
        text=("server", "answer to", "resembles", "state", "likeliest cause", "signs", "evidence"),
    )  # fmt: skip
    left = len(suspicious) - len(shown)
    more = f" {left:,} more are in tables/suspicious.csv." if left else ""
    caption = f"Every odd answer. Within chance: no more of them than a sound server shows.{more}"
    return Table(caption, titles, tuple(rows), as_cards=True)
