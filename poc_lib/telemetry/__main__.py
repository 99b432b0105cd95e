"""``python -m poc_lib.telemetry``: a spec on stdin, samples on stdout, the end when stdin closes.

The parent gives the run's telemetry.jsonl as stdout. One write a sample: a kill leaves whole lines.
"""

import asyncio
import os
import sys

import orjson

from poc_lib.telemetry.sampler import sample_until_eof
from poc_lib.telemetry.spec import READY, Sample, decode_spec

NICE = 10  # what is measured goes before the measuring of it
STDIN, STDOUT, STDERR = 0, 1, 2


def main() -> int:
    """Sample until stdin closes; exit status 0."""
    line = sys.stdin.buffer.readline()
    if not line:  # the parent is gone already
        return 0
    os.nice(NICE)
    asyncio.run(sample_until_eof(decode_spec(line), _write, STDIN, lambda: _say(STDERR, READY)))
    return 0


def _write(sample: Sample) -> None:
    _say(STDOUT, orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE))


def _say(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)


if __name__ == "__main__":
    sys.exit(main())
