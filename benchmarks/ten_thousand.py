"""Ten thousand requests, one in twenty spoilt by the simulator: is each on file once, each failure told?

    python -m benchmarks.ten_thousand

Prints how long it took and the failure table beside what was planted; exit status 1 if they differ.
"""

import sys
import tempfile
from pathlib import Path

from tests.survival.planted import expected_failures, failure_counts, measure_planted

N_REQUESTS = 10_000


def main() -> int:
    """0: every request once, every failure as planted."""
    with tempfile.TemporaryDirectory() as folder:
        planted = measure_planted(Path(folder), N_REQUESTS)
        found, expected = failure_counts(planted.run), expected_failures(planted.rows)
        n_bytes = (planted.run.folder / "requests.jsonl").stat().st_size
    n_once = planted.rows["request_id"].nunique()
    print(f"{n_once} of {N_REQUESTS} requests in the file, each once; {planted.wall_s:.0f} s")
    print(f"{n_bytes / 1e6:.1f} MB in requests.jsonl")
    for name in sorted(expected | found):
        print(f"{name:14} planted {expected[name]:5}   found {found[name]:5}")
    return int(found != expected or n_once != N_REQUESTS or len(planted.rows) != N_REQUESTS)


if __name__ == "__main__":
    sys.exit(main())
