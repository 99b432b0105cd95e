"""What the windows around a code say: names and lines drawn from word lists, without digits or codes."""

import random

PROJECTS = (
    "harbour", "orchard", "lantern", "meadow", "compass", "granite", "sparrow", "juniper", "cobalt",
    "willow",
)  # fmt: skip
PARTS = (
    "parser", "router", "ledger", "gallery", "scheduler", "importer", "planner", "inbox", "archive",
    "search",
)  # fmt: skip
CHANGES = (
    "rename", "split", "cache", "retry", "validate", "merge", "measure", "document", "simplify",
    "restore",
)  # fmt: skip
THINGS = (
    "the upload form",
    "empty rows",
    "time zones",
    "long file names",
    "broken links",
    "the price table",
    "the weekly report",
    "user settings",
    "missing images",
    "the login page",
    "old backups",
    "the invoice",
)
REASONS = (
    "before the review",
    "for the next release",
    "as agreed in the meeting",
    "since the test was flaky",
    "after the outage",
    "for the new customer",
    "so that nobody waits",
    "to keep the tables small",
)
CODE_SHAPES = (
    "def {change}_{part}(rows):",
    "    for row in rows:",
    "        if row.{part} is None:",
    "            continue",
    "    return {change}({part})",
    "class {Part}Error(ValueError):",
    "from {project} import {part}",
    "    logger.info('{change} {part}')",
    "assert {part}.ready, '{change} first'",
)
SHELL_SHAPES = (
    "$ make {part}",
    "$ git log --oneline {part}",
    "  compiling {project}/{part}",
    "  {change} {part}: done",
    "warning: {part} was not {change}d",
    "$ python -m {project}.{part} --{change}",
    "  all tests of {part} passed",
)


def draw_names(pick: random.Random) -> dict[str, str]:
    """One project, part and change, for the shapes above."""
    part = pick.choice(PARTS)
    return {
        "project": pick.choice(PROJECTS),
        "part": part,
        "Part": part.capitalize(),
        "change": pick.choice(CHANGES),
    }


def source_lines(pick: random.Random, n: int) -> list[str]:
    """Lines of program text."""
    return [pick.choice(CODE_SHAPES).format(**draw_names(pick)) for _ in range(n)]


def shell_lines(pick: random.Random, n: int) -> list[str]:
    """Commands and what they printed."""
    return [pick.choice(SHELL_SHAPES).format(**draw_names(pick)) for _ in range(n)]


def sentences(pick: random.Random, n: int) -> list[str]:
    """Sentences of a page about some work."""
    return [
        f"{pick.choice(CHANGES).capitalize()} {pick.choice(THINGS)} {pick.choice(REASONS)}." for _ in range(n)
    ]
