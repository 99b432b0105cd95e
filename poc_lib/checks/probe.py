"""Does an answer depend on its image? Two plainly different pictures, the first again, then no picture."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from PIL import Image, ImageDraw, ImageFont

from poc_lib.checks.check import Check, ok, problem, warning
from poc_lib.checks.process import version_numbers
from poc_lib.checks.sending import CHECK_LIMIT_S, send_one_by_one
from poc_lib.records import Frame, Reply, ServerSpec
from poc_lib.servers import ChatSettings, PreparedRequest, prepare_request

ABOUT = "answers depend on the image"
PICTURES = {
    "first": ("#14325a", "INVOICE 7304\nKestrel Bakery"),
    "second": ("#f2e3c6", "FLIGHT QX 918\nGate 22"),
}
PROBE_TOKENS = 64
FAST = 0.5  # a replayed answer's time to first token, as a share of the first answer's
MIN_IMAGE_TOKENS = 16  # a picture of this size is 57 tokens or more; a template's markers alone are three
UPGRADE = "upgrade vllm-mlx to 0.6.0, or start it with --disable-prefix-cache"
SAFE_VLLM_MLX = (0, 6, 0)  # the first version whose prefix cache tells images apart


@dataclass(frozen=True, slots=True)
class Probe:
    """What came back; fewer than four replies where one failed or the time was up."""

    replies: tuple[Reply, ...] = ()  # first picture, second, first again, no picture

    @property
    def image_tokens(self) -> int | None:
        """Prompt tokens that the picture adds; None where the server does not count them."""
        if len(self.replies) < 4 or not (self.replies[0].prompt_tokens and self.replies[3].prompt_tokens):
            return None
        return self.replies[0].prompt_tokens - self.replies[3].prompt_tokens


async def probe_images(spec: ServerSpec, settings: ChatSettings, simulated: bool, thinks: bool) -> Probe:
    """Four requests one after the other at temperature 0, with one prompt.

    Args:
        thinks: the model thinks before it answers, so its answer needs all the tokens there are.
    """
    n_tokens = settings.max_tokens if thinks else min(PROBE_TOKENS, settings.max_tokens)
    settings = replace(settings, temperature=0.0, max_tokens=n_tokens)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            prepare_request(spec, draw_picture(Path(folder), name), settings) for name in PICTURES
        )
    requests = [first, second, replace(first, frame_id="again"), _without_image(first)]
    return Probe(tuple(await send_one_by_one(spec, requests, settings, simulated)))


def draw_picture(folder: Path, name: str) -> Frame:
    """One of the two pictures, as a JPEG file in the folder."""
    ground, text = PICTURES[name]
    image = Image.new("RGB", (640, 360), ground)
    ink = "white" if name == "first" else "black"
    corner = (60, 90) if name == "first" else (300, 220)
    ImageDraw.Draw(image).multiline_text(corner, text, fill=ink, font=ImageFont.load_default(size=44))
    path = folder / f"{name}.jpg"
    image.save(path, quality=90)
    return Frame(frame_id=name, timestamp_s=0.0, image_path=path)


def _without_image(prepared: PreparedRequest) -> PreparedRequest:
    body = orjson.loads(prepared.body)
    message = body["messages"][0]
    if prepared.api == "ollama":
        del message["images"]
    else:
        message["content"] = [part for part in message["content"] if part["type"] == "text"]
    return replace(prepared, frame_id="none", body=orjson.dumps(body))


def judge_probe(
    server: str, probe: Probe, software: str | None, version: str | None = None, text_only: bool = False
) -> Check:
    """The same text for two different pictures is a model without vision, or a cache that ignores images.

    Args:
        version: of vllm-mlx, where it is known: before 0.6.0 it has that cache, and does not count a
            picture's tokens.
        text_only: the server itself says that its model is.
    """
    about = f"{server}: {ABOUT}"
    failed = next((reply for reply in probe.replies[:3] if reply.error_class), None)
    if failed is not None or len(probe.replies) < 3:
        late = f"not done within {CHECK_LIMIT_S:.0f} s"
        why = f"{failed.error_class}: {failed.error_message}" if failed else late
        to_do = "find the reason in the server's log, and check again"
        return warning(about, f"could not be probed ({why})", to_do)
    first, second, again = (reply.text.strip() for reply in probe.replies[:3])
    if first == second:
        trusted = text_only or _counts_images(software, version)
        return _judge_same_answer(about, probe, software, version, trusted)
    if again == first:
        return ok(about, "two pictures, two answers; the first picture again, its answer again")
    if again == second:
        found = "the first picture, sent again, got the second's answer: a cache replays another image"
        return problem(about, found, _stop_replaying(software, version))
    return _judge_wavering(about, probe, software)


def _judge_same_answer(
    about: str, probe: Probe, software: str | None, version: str | None, trusted: bool
) -> Check:
    """``trusted``: tokens that are missing are a picture that was not seen, not one that was not counted."""
    same = "two different pictures got one answer"
    speed = probe.replies[1].ttft_s / probe.replies[0].ttft_s
    tokens = probe.image_tokens
    if tokens is not None and tokens >= MIN_IMAGE_TOKENS:
        found = f"{same}, the second in {speed:.0%} of the first's time: a cache replays another image"
        return problem(about, found, _stop_replaying(software, version))
    if trusted or speed >= FAST:
        added = "" if tokens is None else f", and a picture adds {_only(tokens)} prompt tokens"
        return problem(about, f"{same}{added}: the model does not see images", _serve_vision(software))
    found = f"{same}, the second in {speed:.0%} of the first's time: a cache replays it, or no image is seen"
    return problem(about, found, f"{_stop_replaying(software, version)}; then {_serve_vision(software)}")


def _judge_wavering(about: str, probe: Probe, software: str | None) -> Check:
    """Three answers, all different: whether the image is seen shows in the prompt tokens alone."""
    tokens = probe.image_tokens
    wavers = "one picture got two answers at temperature 0"
    if tokens is None:
        found = f"{wavers}, so that two pictures got two says nothing"
        return warning(about, found, "read some answers beside their images in accuracy.ipynb")
    if tokens < MIN_IMAGE_TOKENS:
        found = f"{wavers}, and a picture adds {_only(tokens)} prompt tokens: the model does not see images"
        return problem(about, found, _serve_vision(software))
    return ok(about, f"two pictures, two answers; a picture adds {tokens} prompt tokens ({wavers})")


def _only(tokens: int) -> str:
    return f"only {tokens}" if tokens > 0 else "no"


def _counts_images(software: str | None, version: str | None) -> bool:
    return software in ("ollama", "mlx-vlm") or replays_nothing(version)


def replays_nothing(version: str | None) -> bool:
    """Is this a version of vllm-mlx whose prefix cache tells images apart? False where it is not known."""
    return version is not None and version_numbers(version) >= SAFE_VLLM_MLX


def _stop_replaying(software: str | None, version: str | None) -> str:
    if software not in ("vllm-mlx", None):
        return "update the server, or switch its prompt cache off"
    return "start it with --disable-prefix-cache" if replays_nothing(version) else UPGRADE


def _serve_vision(software: str | None) -> str:
    if software == "ollama":
        return "use a vision model, e.g. qwen3-vl:4b-instruct"
    return "serve a vision-language model" + (", with --mllm" if software == "vllm-mlx" else "")
