"""Every parameter once: type, default, unit, help, the flag's group, and what it is for."""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from poc_lib.records import Api, Server, SetupProblem
from poc_lib.text import split_credentials

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PROMPTS_DIR = PROJECT_ROOT / "params" / "prompts"
DEMO = "demo"
API_KEY_VARIABLE = "POC_API_KEY"
CONNECT_TIMEOUT_S = 10.0
STOP_AFTER_FAILURES = 10  # failures in a row that end a cell
TELEMETRY_EVERY_S = 1.0
FRAMES_PER_LEVEL = 3  # a block holds at least three waves of its highest level

Use = Literal[
    "measures",  # another value is another experiment: a run is not continued with it
    "waits",  # how long something may take
    "shows",  # what is shown of a run
    "grows",  # may be raised when a run goes on
]
Level = Annotated[int, Field(ge=1, le=512)]
Rate = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
SERVER_KEYS = {"name", "role", "api", "url", "model", "concurrency"}


def _param(default: Any, group: str, description: str, use: Use = "measures", **limits: Any) -> Any:
    extra = {"group": group, "use": use}
    finite = {"allow_inf_nan": False} if isinstance(default, float) else {}
    return Field(default, description=description, json_schema_extra=extra, **finite, **limits)


def _text(default: str, group: str, description: str, use: Use = "measures", **limits: Any) -> Any:
    return _param(default, group, description, use, max_length=4096, **limits)


class Params(BaseModel):
    """The parameters of a run. Descriptions are the help texts of the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str = _text(DEMO, "frames", "path of escribano.db, or 'demo': a generated one")
    recording: str = _text("latest", "frames", "'latest', a recording's id, a day or a time window A/B")
    n_frames: Count = _param(0, "frames", "frames that take part; 0: all usable ones, evenly thinned to 500")
    image_width: int = _param(
        0, "frames", "scale images down to this many pixels; 0: as stored", ge=0, le=16384
    )
    prompt: str = _text("one_line", "frames", "a file's name under params/prompts, or a path to a text file")

    candidate_name: str = _text("vllm-mlx", "server", "label of the server under test", min_length=1)
    candidate_api: Api = _param("openai", "server", "'openai' (vllm-mlx, mlx-vlm, LM Studio, …) or 'ollama'")
    candidate_url: str = _text(DEMO, "server", "base URL (ends in /v1 for 'openai'), or 'demo': simulated")
    candidate_model: str = _text("demo-vlm", "server", "model name exactly as the server serves it")
    concurrency: list[Level] = _param(
        [1, 2, 4, 8], "server", "requests in flight, one level each", min_length=1
    )
    baseline_name: str = _text("ollama", "server", "label of the baseline server", min_length=1)
    baseline_api: Api = _param("ollama", "server", "'ollama' or 'openai'")
    baseline_url: str = _text(DEMO, "server", "base URL, 'demo': simulated, or empty: recorded figures only")
    baseline_model: str = _text("demo-vlm", "server", "model name exactly as the baseline serves it")
    baseline_concurrency: list[Level] = _param(
        [1], "server", "requests in flight at the baseline", min_length=1
    )
    servers: list[dict[str, Any]] = _param([], "server", "all servers as a list, in place of the two above")
    recorded_tok_per_s: float = _param(
        38.0, "server", "output tok/s, used without baseline_url", gt=0, le=1e6
    )
    recorded_s_per_frame: float = _param(
        8.0, "server", "seconds a frame, used without baseline_url", gt=0, le=1e6
    )

    level: int = _param(
        0, "experiment", "confirm this level without a pilot; 0: the pilot chooses", ge=0, le=512
    )
    pilot_blocks: int = _param(1, "experiment", "pilot blocks of every server and level", ge=1, le=1000)
    block_frames: int = _param(
        0,
        "experiment",
        "frames a block; 0: a multiple of every level, at least 3 × the highest",
        ge=0,
        le=1_000_000,
    )
    max_blocks: int = _param(
        12,
        "experiment",
        "confirmation blocks at most; 0: pilot only, no verdict",
        "grows",
        ge=0,
        le=1_000_000_000,
    )
    proof_frames: int = _param(24, "experiment", "stamped frames a proof cell; 0: no proof", ge=0, le=100_000)
    aborts: bool = _param(False, "experiment", "also a proof cell of which a third is given up in mid-stream")
    open_loop_rates: list[Rate] = _param([], "experiment", "arrivals, as shares of the confirmed frames/s")
    seed: int = _param(0, "experiment", "seed of everything drawn at random", ge=0, le=2**63 - 1)
    temperature: float = _param(0.3, "experiment", "sampling temperature", ge=0, le=2)
    max_tokens: int = _param(1024, "experiment", "output tokens per answer at most", ge=1, le=1_000_000)

    run_id: str = _text(
        "", "report", "name of the run folder; empty: a new run, or the newest one to read", "shows"
    )
    outputs_dir: str = _text(
        "outputs", "report", "folder of all run folders, from the project's root", "shows"
    )
    note: str = _text("", "report", "a line about this run, shown on top of its report", "shows")
    slo_ttft_s: float = _param(
        0.0, "report", "open loop: first token within this; 0: no limit", "shows", ge=0, le=1e6
    )
    slo_total_s: float = _param(
        0.0, "report", "open loop: answer within this; 0: no limit", "shows", ge=0, le=1e6
    )
    labels: str = _text("", "report", "CSV file of human labels; empty: none", "shows")
    compare_with: list[str] = _param([], "report", "run ids that the report compares this run with", "shows")
    screenshots: bool = _param(False, "report", "show screenshots in the report (they are private)", "shows")

    timeout_s: float = _param(
        120.0, "advanced", "seconds without a byte that end a request", "waits", gt=0, le=1e6
    )
    answer_timeout_s: float = _param(
        600.0, "advanced", "seconds an answer may take in all", "waits", gt=0, le=1e6
    )
    transport: Literal["exact", "httpx"] = _param(
        "exact", "advanced", "'exact' stamps bytes where the socket delivers them; 'httpx': its own transport"
    )
    demo_faults: list[str] = _param(
        [], "advanced", "faults planted in the simulated candidate, e.g. swap:0.05@8"
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_passwords_out(cls, values: Any) -> Any:
        """A URL's user and password stay in this process's environment: parameters are stored in outputs."""
        values = dict(values)
        for key in ("candidate_url", "baseline_url"):
            if isinstance(values.get(key), str):
                values[key] = _hide_login(values[key])
        if isinstance(values.get("servers"), list):
            values["servers"] = [
                row | {"url": _hide_login(row["url"])}
                if isinstance(row, dict) and isinstance(row.get("url"), str)
                else row
                for row in values["servers"]
            ]
        return values

    @field_validator("run_id")
    @classmethod
    def _run_id_is_a_folder_name(cls, run_id: str) -> str:
        odd = run_id.startswith(".") or any(c in "/\\" or not c.isprintable() for c in run_id)
        if odd or len(run_id.encode()) > 120:
            raise ValueError("a plain folder name of at most 120 bytes, without slashes or line breaks")
        return run_id

    @model_validator(mode="after")
    def _servers_are_whole(self) -> "Params":
        for server in self.servers:
            lacks = sorted({"name", "role", "url", "model"} - server.keys())
            extra = sorted(map(str, server.keys() - SERVER_KEYS))
            if lacks or extra:
                raise ValueError(
                    "each server has name, role, url, model and may have api, concurrency; this one "
                    + ", ".join([f"lacks {key}" for key in lacks] + [f"has {key}" for key in extra])
                )
        self.server_list()
        return self

    def server_list(self) -> list[Server]:
        """The servers of the run, baselines first; without any baseline only candidates.

        Raises:
            ValueError: a server's name, role, api, url, model or concurrency is none.
        """
        flat = [
            {"role": role, "concurrency": levels}
            | {key: getattr(self, f"{role}_{key}") for key in ("name", "api", "url", "model")}
            for role, levels in (("baseline", self.baseline_concurrency), ("candidate", self.concurrency))
        ]
        servers = [_read_server(row, self) for row in self.servers or flat if self.servers or row["url"]]
        names = [server.name for server in servers]
        if len(set(names)) < len(names):
            raise ValueError(f"two servers are called '{max(names, key=names.count)}': name them apart")
        if not any(server.role == "candidate" for server in servers):
            raise ValueError("no server has the role 'candidate': name the one that is to be judged")
        return sorted(servers, key=lambda server: server.role != "baseline")

    @property
    def outputs_path(self) -> Path:
        """The folder of all runs; a relative one counts from the project's root."""
        return PROJECT_ROOT / Path(self.outputs_dir).expanduser()

    @property
    def frames_per_block(self) -> int:
        """Frames of one cell: a multiple of every level in use, so that no wave of requests is ragged."""
        levels = {level for server in self.server_list() for level in server.concurrency} | {self.level or 1}
        return self.block_frames or _multiple(levels)

    def prompt_text(self) -> str:
        """The prompt sent with every frame.

        Raises:
            SetupProblem: no such prompt file, or it is empty or not UTF-8.
        """
        known = ", ".join(sorted(path.stem for path in PROMPTS_DIR.glob("*.txt")))
        expected = f"expected one of {known}, or the path of a text file"
        try:
            named = PROMPTS_DIR / f"{self.prompt}.txt"
            path = named if "/" not in self.prompt and named.is_file() else Path(self.prompt).expanduser()
            text = path.read_bytes().decode("utf-8").strip()
        except UnicodeDecodeError:
            raise SetupProblem(f"prompt '{self.prompt}' is not UTF-8 text: save it as UTF-8") from None
        except (OSError, ValueError, RuntimeError):  # ValueError: NUL; RuntimeError: unknown home
            shown = self.prompt if len(self.prompt) <= 60 else f"{self.prompt[:57]}…"
            raise SetupProblem(
                f"no prompt file '{shown}': {expected}; a prompt's text goes into a file"
            ) from None
        if not text:
            raise SetupProblem(f"prompt '{self.prompt}' is empty: {expected}")
        return text

    def api_key(self) -> str | None:
        """The API key from the environment; never a parameter, since parameters are stored in outputs.

        Raises:
            SetupProblem: the key has characters that no HTTP header can carry.
        """
        key = os.environ.get(API_KEY_VARIABLE, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise SetupProblem(
                f"{API_KEY_VARIABLE} has a line break or a character beyond ASCII: set it again"
            )
        return key or None


def _read_server(row: dict[str, Any], params: Params) -> Server:
    name, role, api = row["name"], row["role"], row.get("api", "openai")
    if not isinstance(name, str) or not name.strip() or len(name) > 200:
        raise ValueError(f"a server is called {name!r}: expected a text of 1 to 200 characters")
    if role not in ("candidate", "baseline") or api not in ("openai", "ollama"):
        found = f"server '{name}' has role {role!r} and api {api!r}"
        raise ValueError(f"{found}: expected candidate or baseline, and openai or ollama")
    if not all(isinstance(row[key], str) and row[key].strip() for key in ("url", "model")):
        raise ValueError(f"server '{name}' has url {row['url']!r} and model {row['model']!r}: expected texts")
    levels = row.get("concurrency") or (
        params.concurrency if role == "candidate" else params.baseline_concurrency
    )
    if not isinstance(levels, list) or not all(type(level) is int and 1 <= level <= 512 for level in levels):
        raise ValueError(
            f"server '{name}' has concurrency {levels!r}: expected a list of 1 to 512, like [1, 4]"
        )
    if params.level and role == "candidate":
        levels = [params.level]
    url = os.environ.get(_login_variable(row["url"].strip()), row["url"].strip())
    return Server(name.strip(), role, api, url, row["model"], tuple(sorted(set(levels))))


def _hide_login(url: str) -> str:
    clean, login = split_credentials(url.strip())
    if login:
        os.environ[_login_variable(clean)] = url.strip()
    return clean


def _login_variable(url: str) -> str:
    return f"POC_LOGIN_{hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _multiple(levels: set[int]) -> int:
    """The smallest multiple of all levels that holds three waves of the highest; where the levels have no
    small one in common (5, 7, 8), the highest level's alone."""
    lowest, highest = FRAMES_PER_LEVEL * max(levels), 12 * max(levels)
    fitting = (n for n in range(lowest, highest + 1) if all(n % level == 0 for level in levels))
    return next(fitting, lowest)
