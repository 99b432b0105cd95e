import subprocess
import sys

from poc_lib.params import PROJECT_ROOT
from poc_lib.sync import run_now

INSIDE_A_RUNNING_LOOP = """
import asyncio
from poc_lib.sync import run_now

async def answer():
    await asyncio.sleep(0)
    return 42

async def cell():
    assert run_now(answer()) == 42
    assert run_now(answer()) == 42
    await asyncio.sleep(0)
    return "the outer loop goes on"

print(asyncio.run(cell()))
"""


async def answer():
    return 42


def test_a_coroutine_runs_where_no_loop_is():
    assert run_now(answer()) == 42


def test_a_coroutine_runs_inside_a_running_loop():
    """In a process of its own: nesting patches asyncio for good."""
    command = [sys.executable, "-c", INSIDE_A_RUNNING_LOOP]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "the outer loop goes on", done.stderr
