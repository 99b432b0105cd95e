"""The numbers of a run: pure functions, frames in, frames out.

answers: one row an answer, read and judged. levels: one row a (server, level). blocks: one row a confirmation
block. findings: every judged sentence. The columns of each frame are listed once, where it is made.
"""

from poc_lib import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {  # each is imported when it is first asked for: a plan needs no text vectors
        "answers": "COLUMNS ParsedAnswer judge_answers mark_complete parse_answer strip_thinking",
        "compare": "compare_runs",
        "confusion": "READS_ENOUGH is_suspicious proof_findings worst_pairs",
        "fairness": "ADDED_SHARE fairness_findings open_loop_findings",
        "speed": "LEVEL_COLUMNS choose_level summarize_levels",
        "speedup": "BLOCK_COLUMNS STEPS binomial_bounds binomial_upper count estimate interval "
        "look_blocks mean_interval summarize_blocks",
        "verdict": "MIXED_UP_CHOSEN criteria decide",
    },
)
