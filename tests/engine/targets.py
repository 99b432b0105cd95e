"""Which servers a test of the contract runs against."""

from collections.abc import Callable

import pytest

from tests.engine.known import EVERY, KnownServer


def params_of(*names: str) -> list:
    """Parameters for these servers; the real ones carry the marker `engine`."""
    return [
        pytest.param(name, marks=[pytest.mark.engine] if EVERY[name].real else [], id=name) for name in names
    ]


def servers(fits: Callable[[KnownServer], bool]) -> pytest.MarkDecorator:
    """Run a test against those servers only for which it has a meaning."""
    return pytest.mark.parametrize(
        "target", params_of(*(name for name, known in EVERY.items() if fits(known))), indirect=True
    )
