"""When the requests of an open loop are due, decided before the first one is sent. Pure."""

import random
from itertools import accumulate
from typing import Literal


def plan_arrivals(n: int, rate_per_s: float, kind: Literal["constant", "poisson"], seed: int) -> list[float]:
    """The moments at which n requests are due, in seconds from the cell's start, in order.

    Args:
        n: requests.
        rate_per_s: requests per second, above 0.
        kind: "constant": every 1 / rate seconds, the first at 0. "poisson": users who know nothing of one
            another; gaps are drawn from an exponential distribution with mean 1 / rate, the first gap
            included, so n requests take n / rate seconds on average, give or take 1 / √n of it.
        seed: of the drawn gaps. The same seed draws the same pattern at every rate, only faster or slower,
            so that rates and servers differ in their load and not in their luck.

    Raises:
        ValueError: the rate is not above 0, or the kind is neither of the two.
    """
    if not rate_per_s > 0:
        raise ValueError(f"a rate above 0 requests per second expected, got {rate_per_s}")
    if kind == "constant":
        return [i / rate_per_s for i in range(n)]
    if kind != "poisson":
        raise ValueError(f"arrivals 'constant' or 'poisson' expected, got '{kind}'")
    draw = random.Random(seed)
    return [moment / rate_per_s for moment in accumulate(draw.expovariate(1.0) for _ in range(n))]
