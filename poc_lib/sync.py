"""Call a coroutine from a cell as if it were a function: for checks and previews, never for a measurement.

Nested loops return last in, first out, which would stretch measured times: the sweep is a top-level await.
"""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


def run_now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, inside a notebook's running loop or without one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    if sys.version_info >= (3, 14):  # nest-asyncio breaks httpx there; nest-asyncio2 carries it on
        import nest_asyncio2 as nest_asyncio
    else:
        import nest_asyncio
    nest_asyncio.apply(loop)
    return loop.run_until_complete(coroutine)
