"""How large the project is, against its plan: lines as the formatter leaves them, files, words, parameters.

python benchmarks/size.py
"""

import collections
import json
import re

from poc_lib.params import PROJECT_ROOT, Params

PLAN = {"poc_lib": (6500, 50), "demo": (1000, None), "tests": (8000, None), "benchmarks": (1000, None)}
README_WORDS, NOTEBOOK_LINES, PARAMETERS, USED_ONCE = 1300, 50, 40, 0.30


def main() -> None:
    """Print one row a figure: what it is, how large, the plan."""
    rows = []
    for folder, (lines, files) in PLAN.items():
        paths = list((PROJECT_ROOT / folder).rglob("*.py"))
        rows.append((f"{folder}, lines", sum(len(path.read_text().splitlines()) for path in paths), lines))
        if files:
            rows.append((f"{folder}, files", len(paths), files))
    text = "\n".join(path.read_text() for path in (PROJECT_ROOT / "poc_lib").rglob("*.py"))
    # a name that ends in _ (_repr_html_) is called by IPython, not by us
    private = re.findall(r"^\s*(?:async )?def (_[a-z]\w*(?<!_))\(", text, re.MULTILINE)
    mentions = collections.Counter(re.findall(r"\b_\w+", text))
    share = round(100 * sum(mentions[name] <= 2 for name in private) / len(private))  # 2: its own, one place
    rows.append(("private functions used from one place, %", share, 100 * USED_ONCE))
    for path in sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
        n_lines = sum(bool(line.strip()) for line in code.splitlines())
        rows.append((f"{path.name}, code lines", n_lines, NOTEBOOK_LINES))
    rows.append(("parameters", len(Params.model_fields), PARAMETERS))
    rows.append(("README.md, words", len((PROJECT_ROOT / "README.md").read_text().split()), README_WORDS))
    print(f"| {'figure':40} | {'is':>6} | {'plan':>6} |\n| :{'-' * 39} | {'-' * 5}: | {'-' * 5}: |")
    for figure, found, planned in rows:
        verdict = "" if found <= planned else "larger than planned"
        print(f"| {figure:40} | {found:6,} | {planned:6,.0f} | {verdict}")


if __name__ == "__main__":
    main()
