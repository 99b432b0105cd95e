"""How large the project is, against its plan: lines as the formatter leaves them, files, words, parameters.

python benchmarks/size.py
"""

import collections
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAN = {"poc_lib": (6500, 50), "demo": (1000, None), "tests": (8000, None), "benchmarks": (1000, None)}
WORDS = {"README.md": 1300}
NOTEBOOK_LINES, PARAMETERS, USED_ONCE = 50, 40, 0.30


def read_lines(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def count_used_once() -> tuple[int, int]:
    """How many private functions of poc_lib are named in one place besides their definition, and how many
    there are."""
    text = "\n".join(line for path in (ROOT / "poc_lib").rglob("*.py") for line in read_lines(path))
    names = re.findall(r"^\s*(?:async )?def (_[a-z]\w*)", text, re.MULTILINE)
    mentions = collections.Counter(re.findall(r"\b_\w+", text))
    return sum(mentions[name] <= 2 for name in names), len(names)


def main() -> None:
    """Print one row a figure: what it is, how large, the plan."""
    rows = []
    for folder, (lines, files) in PLAN.items():
        paths = list((ROOT / folder).rglob("*.py"))
        rows.append((f"{folder}, lines", sum(len(read_lines(path)) for path in paths), lines))
        if files:
            rows.append((f"{folder}, files", len(paths), files))
    once, n_private = count_used_once()
    rows.append(("private functions used from one place, %", round(100 * once / n_private), 100 * USED_ONCE))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        n_lines = sum(bool(line.strip()) for line in code.splitlines())
        rows.append((f"{path.name}, code lines", n_lines, NOTEBOOK_LINES))
    fields = re.findall(
        r"^    \w+: .* = _(?:param|text)\(", (ROOT / "poc_lib/params.py").read_text(), re.MULTILINE
    )
    rows.append(("parameters", len(fields), PARAMETERS))
    for name, words in WORDS.items():
        rows.append((f"{name}, words", len((ROOT / name).read_text(encoding="utf-8").split()), words))
    print(f"| {'figure':40} | {'is':>6} | {'plan':>6} |\n| :{'-' * 39} | {'-' * 5}: | {'-' * 5}: |")
    for figure, found, planned in rows:
        verdict = "" if found <= planned else "larger than planned"
        print(f"| {figure:40} | {found:6,} | {planned:6,.0f} | {verdict}")


if __name__ == "__main__":
    main()
