"""What the screenshots with a code prove: whose image was read."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.canary import canary_sentences
from poc_lib.report.blocks import Block, Cell, Heading, Note, Table, Text, Tone
from poc_lib.report.quality.words import of_n
from poc_lib.report.wording import NOT_KNOWN, cells, columns, seconds

MANY_ROWS = 40
NONE_SENT = "No canaries were sent, so nothing is proven either way: only signs remain."
ABOUT = (
    "Canaries are drawn screenshots, each with a code of its own, sent among real ones. An answer that holds "
    "another image's code is proof of a mix-up, not a suspicion."
)
TONES: dict[str, Tone] = {"leak": "bad", "no leak": "good", "reads less": "warn", "not usable": "warn"}
WORDS = {
    "leak": "✗ leak proven",
    "no leak": "✓ no leak",
    "reads less": "? codes missing",
    "not usable": "? not usable",
}


def canary_blocks(analysis: Analysis) -> list[Block]:
    """One sentence a server, what was read per level, and every leak with where both requests stood."""
    table = analysis.canaries
    if table.empty:
        return [Heading("Canaries: proof"), Note(NONE_SENT, "muted")]
    sentences = canary_sentences(table)
    notes = [Note(sentence, _tone(table[table["server"] == name])) for name, sentence in sentences.items()]
    rows = tuple(_row(row) for _, row in table.iterrows())
    leaks = [_leaks_table(analysis.leaks)] if len(analysis.leaks) else []
    return [Heading("Canaries: proof"), Text(ABOUT), *notes, *leaks, Table(CAPTION, TITLES, rows)]


TITLES = columns(
    "server", "in flight", "sent", "outcome", "canaries answered", "code read", "one character off",
    "not read", "failed", "given up", "leaks of answers with a code", text=("server", "sent", "outcome"),
)  # fmt: skip
CAPTION = (
    "Below: the exact 95 % bound on the share of answers that name another image's code. "
    "With few canaries it "
    "is wide: ask for more canaries to lower it. One character off: misread, no leak."
)


def _tone(rows: pd.DataFrame) -> Tone:
    found = set(rows["outcome"])
    return next(
        TONES[outcome] for outcome in ("leak", "not usable", "reads less", "no leak") if outcome in found
    )


def _row(row: pd.Series) -> tuple[Cell, ...]:
    return cells(
        row["server"],
        str(row["concurrency"]),
        "while others were given up" if row["phase"] == "canary_abort" else "plainly",
        Cell(WORDS[row["outcome"]], TONES[row["outcome"]]),
        str(row["n_canaries"]),
        str(row["n_read"]),
        str(row["n_misread_one"]),
        str(row["n_not_read"]),
        str(row["n_failed"]),
        str(row["n_aborted"]),
        of_n(row["n_leaks"], row["n_judged"], row["leak_rate_high"]),
    )


def _leaks_table(leaks: pd.DataFrame) -> Table:
    shown = leaks.head(MANY_ROWS)
    more = f" {len(leaks) - len(shown):,} more are in tables/leaks.csv." if len(leaks) > len(shown) else ""
    caption = (
        "Every proven leak: the victim's answer holds the donor's code. Place: which request of its cell it "
        f"was. Slot: of those in flight at once.{more}"
    )
    titles = columns(
        "server", "in flight", "block", "victim", "donor", "in flight together", "place", "slot",
        "first token (usual)", "code", "donor was", text=("server", "victim", "donor", "in flight together",
        "place", "slot", "first token (usual)", "code"),
    )  # fmt: skip
    return Table(caption, titles, tuple(_leak(row) for row in shown.itertuples()), as_cards=True)


def _leak(row) -> tuple[Cell, ...]:
    return cells(
        row.server,
        str(row.concurrency),
        str(row.block + 1),
        row.frame_id,
        Cell(row.donor_frame_id, "bad"),
        "yes" if row.in_flight_together else "no",
        _place(row),
        _slots(row),
        f"{seconds(row.ttft_s)} ({seconds(row.usual_ttft_s)})",
        "exact" if row.edits == 0 else "one character off",
        "given up" if row.donor_aborted else "answered",
    )


def _place(row) -> str:
    if not row.same_cell:
        return f"{int(row.place) + 1}; the donor was sent in an earlier cell"
    if pd.isna(row.donor_place):
        return str(int(row.place) + 1)
    after = int(row.sent_after)
    where = f"{after} after it" if after > 0 else f"{-after} before it"
    return f"{int(row.place) + 1}, donor {int(row.donor_place) + 1}: sent {where}"


def _slots(row) -> str:
    return f"{int(row.slot)}, donor {NOT_KNOWN if pd.isna(row.donor_slot) else int(row.donor_slot)}"
