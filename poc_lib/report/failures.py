"""Every failure by class, with what the server said."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Note, Section, Table
from poc_lib.report.wording import cells, columns, count


def failures_section(analysis: Analysis, params: Params) -> Section:
    """Every failure by class, with what the server said."""
    blocks: list[Block] = []
    total, missing = int(analysis.speed["n_requests"].sum()), int(analysis.speed["n_not_sent"].sum())
    failed = int(analysis.failures["n"].sum()) if len(analysis.failures) else 0
    if failed:
        text = f"{count(failed, 'request')} of {total:,} failed; they count neither as speed nor as answers."
        blocks.append(Note(text, "bad"))
        blocks.append(_failures_table(analysis.failures))
    else:
        blocks.append(
            Note(f"No measured request failed: {count(total, 'request')}, as many answers.", "good")
        )
    if missing:
        text = (
            f"{count(missing, 'request was', 'requests were')} never sent: the run was stopped, or a level "
        )
        text += f"was given up after {params.stop_after_failures} failures in a row."
        blocks.append(Note(text, "warn"))
    cut = int(analysis.speed["n_at_max_tokens"].sum())
    limit = analysis.run.facts["params"]["max_tokens"]
    if cut:
        blocks.append(Note(f"{count(cut, 'answer was', 'answers were')} cut off at {limit} tokens.", "warn"))
    return Section("failures", "Failures", tuple(blocks))


def _failures_table(failures: pd.DataFrame) -> Table:
    rows = [
        cells(row.server, str(row.concurrency), row.error_class, f"{row.n} of {row.out_of}", str(row.example))
        for row in failures.itertuples()
    ]
    titles = columns(
        "server", "in flight", "class", "failed", "for example", text=("server", "class", "for example")
    )
    return Table(
        "Failed requests by class; the example is the first one's message.",
        titles,
        tuple(rows),
        as_cards=True,
    )
