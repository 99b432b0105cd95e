"""A made-up run, written with the project's own writer, for the tests of figures, report and export."""

import random
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw

from poc_lib.looks import visual_hash
from poc_lib.params import Params
from poc_lib.records import Frame, Reference, Reply, ServerIdentity
from poc_lib.runs import Run, open_run, reply_writer

SCREENS = (
    (
        "Editing the parser of the invoice importer in parser.py",
        "coding",
        ("VS Code",),
        ("invoices", "parsing"),
    ),
    ("Reading the release notes of SQLite 3.50 in the browser", "reading", ("Firefox",), ("SQLite",)),
    (
        "A failing test in test_login.py with AssertionError 401",
        "debugging",
        ("Terminal",),
        ("login", "tests"),
    ),
    ("A video call with four people about the autumn roadmap", "meeting", ("Zoom",), ("roadmap",)),
    (
        "Comparing two migrations of the billing table side by side",
        "review",
        ("GitHub", "Firefox"),
        ("billing",),
    ),
    ("Listing the containers of the staging cluster with kubectl", "terminal", ("Terminal",), ("staging",)),
    ("Searching for papers on continuous batching of image prompts", "research", ("Arc",), ("batching",)),
    ("Writing a mail to the landlord about the broken heating", "other", ("Mail",), ("flat",)),
    ("Renaming layers of the onboarding screens in the design file", "other", ("Figma",), ("onboarding",)),
    ("A spreadsheet with the travel costs of the third quarter", "other", ("Numbers",), ("travel costs",)),
    (
        "Stepping through the scheduler with the debugger at line 214",
        "debugging",
        ("PyCharm",),
        ("scheduler",),
    ),
    ("Reviewing a pull request that drops the legacy export", "review", ("GitHub",), ("export",)),
)
HOSTILE = (
    '<script>alert("x")</script> | **bold** | [link](http://example.org/x.png) ![i](http://example.org/y.png)'
)


def example_params(folder: Path, **changes) -> Params:
    values = {"n_frames": len(SCREENS), "outputs_dir": str(folder), "concurrency": [1, 2, 4, 8], "blocks": 1}
    return Params(**(values | changes))


def write_frames(folder: Path) -> list[Frame]:
    """Twelve drawn screens with their stored references."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = []
    for i, (text, activity, apps, topics) in enumerate(SCREENS):
        path = folder / f"frame_{i:06d}.jpg"
        draw_screen(i, text).save(path, quality=85)
        reference = Reference(text + ".", activity, apps, topics, "qwen3-vl:4b")
        frames.append(Frame(f"f{i:03d}", 30.0 * i, path, "rec-1", None, 1024, 576, reference=reference))
    return frames


def draw_screen(seed: int, text: str) -> Image.Image:
    rng = random.Random(seed)
    image = Image.new("RGB", (1024, 576), tuple(rng.randint(20, 240) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = rng.randint(0, 900), rng.randint(0, 500)
        fill = tuple(rng.randint(0, 255) for _ in range(3))
        pen.rectangle((x, y, x + rng.randint(40, 420), y + rng.randint(20, 200)), fill=fill)
    pen.text((40, 40), text, fill="white", font_size=30, stroke_width=2, stroke_fill="black")
    return image


def write_run(folder: Path, params: Params, *, simulated=True, faults=True, baseline=True) -> Run:
    """A complete run: a sequential baseline and a batching candidate at each level, with planted faults."""
    frames = write_frames(folder / "frames")
    servers = [_identity("vllm-mlx", "candidate", "openai", simulated)]
    if baseline:
        servers.insert(0, _identity("ollama", "baseline", "ollama", simulated))
    run = open_run(folder / "run-example", _facts(params, frames, servers), frames)
    with reply_writer(run) as write:
        for reply in make_replies(params, frames, simulated=simulated, faults=faults, baseline=baseline):
            write(reply)
    return run


def make_replies(
    params: Params, frames: list[Frame], *, simulated: bool, faults: bool, baseline: bool
) -> list[Reply]:
    rng, replies, now_s = random.Random(7), [], 0.0
    cells = [("ollama", "baseline", 1)] if baseline else []
    cells += [("vllm-mlx", "candidate", level) for level in params.concurrency]
    for block in range(params.blocks):
        for server, role, level in cells:
            free_s = [now_s] * level
            for i, frame in enumerate(frames):
                slot = free_s.index(min(free_s))
                reply = _reply(
                    rng, server, role, level, block, frame, slot, free_s[slot], frames, i, simulated
                )
                if faults and role == "candidate":
                    _plant_fault(reply, level, i, frames)
                free_s[slot] += reply.total_s
                replies.append(reply)
            now_s = max(free_s) + 1.0
    return replies


def _reply(rng, server, role, level, block, frame, slot, start_s, frames, i, simulated) -> Reply:
    tokens = rng.randint(46, 92)
    ttft_s = (2.1 if role == "baseline" else 0.55 + 0.42 * level) * rng.uniform(0.8, 1.3)
    tpot_s = (0.026 if role == "baseline" else 0.012 * level**0.55) * rng.uniform(0.9, 1.15)
    arrivals = [round(ttft_s + tpot_s * n * rng.uniform(0.97, 1.03), 4) for n in range(tokens)]
    return Reply(
        request_id=f"{server}/measure/c{level}/b{block}/{frame.frame_id}",
        server=server,
        role=role,
        concurrency=level,
        block=block,
        phase="measure",
        frame_id=frame.frame_id,
        sitting=0,
        slot=slot,
        simulated=simulated,
        sent_at="2026-11-20T10:00:00+00:00",
        start_s=start_s,
        in_flight=level,
        total_s=ttft_s + tpot_s * tokens,
        headers_s=0.01,
        ttft_s=ttft_s,
        arrivals_s=sorted(arrivals),
        prompt_tokens=780,
        output_tokens=tokens,
        finish_reason="stop",
        text=answer_line(i, wordy=rng.random() < 0.3),
        http_status=200,
    )


def answer_line(i: int, wordy: bool = False) -> str:
    text, activity, apps, topics = SCREENS[i]
    more = ", seen in the middle of a working afternoon with several other windows behind it" if wordy else ""
    lists = f"apps: [{', '.join(apps)}] | topics: [{', '.join(topics)}]"
    return f"description: {text}{more}. | activity: {activity} | {lists}"


def _plant_fault(reply: Reply, level: int, i: int, frames: list[Frame]) -> None:
    if level == 8 and i == 5:
        reply.error_class, reply.error_message = "timeout", "nothing arrived for 600 s"
        reply.text, reply.ttft_s, reply.output_tokens, reply.arrivals_s = "", None, None, []
    if level == 8 and i == 9:
        reply.error_class, reply.error_message = "busy", "HTTP 503: serialized route is busy, retry later <b>"
        reply.text, reply.ttft_s, reply.output_tokens, reply.arrivals_s, reply.total_s = (
            "",
            None,
            None,
            [],
            0.02,
        )
    if level == 4 and i in (6, 7):
        reply.text = answer_line(1)
    if i == 3:
        reply.text = f"description: {HOSTILE} | activity: meeting | apps: [Zoom] | topics: [roadmap]"


def _identity(name: str, role: str, api: str, simulated: bool) -> ServerIdentity:
    return ServerIdentity(
        name=name,
        role=role,
        url="http://127.0.0.1:8000",
        api=api,
        reachable=True,
        simulated=simulated,
        software="vllm-mlx" if role == "candidate" else "ollama",
        version=None if role == "candidate" else "0.9.1",
        model="demo-vlm",
        models=("demo-vlm",),
        details={"engine_type": "batched"},
    )


def _facts(params: Params, frames: list[Frame], servers: list[ServerIdentity]) -> dict:
    return {
        "params": params.model_dump(),
        "prompt": "Describe this screenshot in one line.",
        "prompt_sha256": "0" * 64,
        "recording_id": "rec-1",
        "recording_frames": 182,
        "frame_counts": {"frames": 182, "usable": 170, "missing image": 12},
        "frames": [_frame_facts(frame) for frame in frames],
        "servers": [asdict(server) for server in servers],
        "host": {
            "chip": "Apple M4 Max",
            "memory_gb": 128.0,
            "os": "macOS-26",
            "python": "3.12.1",
            "cores": 16,
        },
        "versions": {"poc-lib": "0.1.0", "httpx": "0.28.1"},
        "git_commit": "0123456789ab",
    }


def _frame_facts(frame: Frame) -> dict:
    with Image.open(frame.image_path) as image:
        phash = visual_hash(image)
    return {
        "frame_id": frame.frame_id,
        "sha256": "ab" * 32,
        "bytes": 1,
        "width": 1024,
        "height": 576,
        "phash": phash,
    }
