"""One validated, flat parameter set for all notebooks and the command line."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from poc_lib.errors import SetupProblem
from poc_lib.records import Api, ServerSpec

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PROMPTS_DIR = PROJECT_ROOT / "params" / "prompts"
DEMO = "demo"

Level = Annotated[int, Field(ge=1, le=512)]
Rate = Annotated[float, Field(gt=0)]
SERVER_KEYS = {"name", "role", "api", "url", "model", "concurrency"}


class Params(BaseModel):
    """Every parameter of a run. The descriptions are the help texts of the command line and the notebooks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str = Field("", description="name of the run folder; empty: a new run, or the newest one to read")
    outputs_dir: str = Field("outputs", description="folder of all run folders, from the project's root")

    database: str = Field(DEMO, description="path of escribano.db, or 'demo' for the embedded demo database")
    recording: str = Field("latest", description="'latest', a recording's id, a day or a time window A/B")
    n_frames: int = Field(12, ge=1, description="frames to send per cell")
    sample: Literal["even", "random"] = Field(
        "even", description="'even' spread in time, or 'random' by seed"
    )
    seed: int = Field(0, description="seed of everything drawn at random")
    image_width: int = Field(0, ge=0, description="scale images down to this width in pixels; 0: as stored")
    recover_missing: bool = Field(True, description="cut missing images again from the recording's video")
    recovery_width: int = Field(1024, ge=64, description="width in pixels of images cut from the video")
    prompt: str = Field(
        "one_line", description="a file's name under params/prompts, or a path to a text file"
    )

    candidate_name: str = Field("vllm-mlx", min_length=1, description="label of the server under test")
    candidate_api: Api = Field("openai", description="'openai' (vllm-mlx, mlx-vlm, LM Studio, …) or 'ollama'")
    candidate_url: str = Field(DEMO, description="base URL (ends in /v1 for 'openai'), or 'demo': simulated")
    candidate_model: str = Field("demo-vlm", description="model name exactly as the server serves it")
    concurrency: list[Level] = Field([1, 2, 4, 8], min_length=1, description="in-flight requests per level")

    baseline_name: str = Field("ollama", min_length=1, description="label of the baseline server")
    baseline_api: Api = Field("ollama", description="'ollama' or 'openai'")
    baseline_url: str = Field(
        DEMO, description="base URL, 'demo': simulated, or empty: recorded figures only"
    )
    baseline_model: str = Field("demo-vlm", description="model name exactly as the baseline serves it")
    baseline_concurrency: list[Level] = Field(
        [1], min_length=1, description="in-flight requests at the baseline"
    )
    servers: list[dict[str, Any]] = Field(
        [], description="all servers, when more than two; empty: the candidate_* and baseline_* above"
    )
    recorded_tok_per_s: float = Field(38.0, gt=0, description="output tok/s; used only without baseline_url")
    recorded_s_per_frame: float = Field(
        8.0, gt=0, description="seconds a frame; used only without baseline_url"
    )
    recorded_frames: int = Field(182, ge=1, description="frames of the recording behind the recorded figures")

    blocks: int = Field(3, ge=1, description="times each cell is measured; an interval needs at least 2")
    cell_order: Literal["random", "as_listed"] = Field(
        "random", description="order inside a block: drawn from the seed and mirrored in the next, or fixed"
    )
    cooldown_s: float = Field(0.0, ge=0, description="seconds of rest before each cell")
    warmup_requests: int = Field(
        2, ge=0, description="untimed requests per level at the start, at least one a slot; 0: none"
    )
    warmup_per_cell: int = Field(1, ge=0, description="untimed requests before each cell; 0: none")
    repeat_image_frames: int = Field(
        4, ge=0, description="frames sent twice on purpose, to see what an image cache gives; 0: none"
    )
    open_loop_rates: list[Rate] = Field([], description="arrivals per second, one cell each; empty: none")
    open_loop_arrivals: list[Literal["poisson", "constant"]] = Field(
        ["poisson"], min_length=1, description="how arrivals are spaced: 'poisson', 'constant' or both"
    )
    slo_ttft_s: float = Field(0.0, ge=0, description="service level: TTFT at most this; 0: no limit")
    slo_total_s: float = Field(0.0, ge=0, description="service level: total at most this; 0: no limit")
    slo_share: float = Field(
        0.95, gt=0, le=1, description="service level: share of requests that must hold it"
    )
    canaries: int = Field(6, ge=0, description="screenshots with a code, sent per level; 0: none")
    canary_aborts: bool = Field(False, description="also send canaries while other requests are given up")
    temperature: float = Field(0.3, ge=0, le=2, description="sampling temperature")
    max_tokens: int = Field(1024, ge=1, description="output tokens per answer at most")
    timeout_s: float = Field(600.0, gt=0, description="seconds without a byte before a request has failed")
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds to connect before a request has failed")
    stop_after_failures: int = Field(10, ge=1, description="failures in a row that end a cell early")
    retry_failed: bool = Field(
        False, description="send failed requests again when a run goes on; the failures stay on record"
    )
    telemetry_every_s: float = Field(
        1.0, ge=0, description="seconds between samples of servers and machine; 0: none are taken"
    )
    api_key_env: str = Field("POC_API_KEY", description="environment variable that holds the API key, if any")

    target_tok_per_s: float = Field(
        76.0, gt=0, description="success: output tok/s above this, or 2× baseline"
    )
    target_match_rate: float = Field(
        0.8, gt=0, lt=1, description="success: share of matching answers above this"
    )
    match_threshold: float = Field(0.8, gt=0, lt=1, description="difflib ratio above which two texts match")
    quality_margin: float = Field(
        0.05, gt=0, lt=1, description="loss of similarity that parallel requests may cost"
    )
    labels: str = Field("", description="CSV file of human labels, which then lead; empty: none")
    embeddings_url: str = Field("", description="server of an embedding model, for one more similarity")
    embeddings_api: Api = Field("openai", description="'openai' (/embeddings) or 'ollama' (/api/embed)")
    embeddings_model: str = Field("", description="name of the embedding model")
    compare_with: list[str] = Field([], description="run ids that the report compares this run with")
    compare_anyway: bool = Field(False, description="compare runs although they are not alike")
    note: str = Field("", description="a line about this run, shown on top of its report")
    screenshots: bool = Field(True, description="show screenshots in the report (they are private)")
    demo_faults: list[str] = Field(
        [], description="faults planted in the simulated candidate, e.g. wrong_image:0.1"
    )
    demo_speed: float = Field(1.0, gt=0, description="the simulator's clock: 10 answers ten times faster")

    @field_validator("concurrency", "baseline_concurrency")
    @classmethod
    def _levels_are_distinct(cls, levels: list[int]) -> list[int]:
        if len(set(levels)) != len(levels):
            raise ValueError(f"each level once; got {levels}")
        return sorted(levels)

    @field_validator("telemetry_every_s")
    @classmethod
    def _sampling_is_not_a_load(cls, every_s: float) -> float:
        if 0 < every_s < 0.1:
            raise ValueError("0, or at least 0.1")
        return every_s

    @field_validator("run_id")
    @classmethod
    def _run_id_is_a_folder_name(cls, run_id: str) -> str:
        if run_id and (run_id.startswith(".") or Path(run_id).name != run_id):
            raise ValueError(f"a plain folder name, without slashes; got '{run_id}'")
        return run_id

    @model_validator(mode="after")
    def _servers_are_whole(self) -> "Params":
        for server in self.servers:
            missing = {"name", "role", "url", "model"} - server.keys()
            unknown = server.keys() - SERVER_KEYS
            if missing or unknown:
                raise ValueError(
                    f"each server needs name, role, url and model, may have api and concurrency; {server} "
                    + ", ".join([f"lacks {key}" for key in missing] + [f"has {key}" for key in unknown])
                )
        return self

    def server_specs(self) -> list[ServerSpec]:
        """The servers of the run, baselines first; without any baseline only candidates."""
        rows = self.servers or [self._flat("baseline"), self._flat("candidate")]
        rows = [row for row in rows if row["url"]]
        specs = [
            ServerSpec(
                name=row["name"],
                role=row["role"],
                api=row.get("api", "openai"),
                url=row["url"],
                model=row["model"],
                concurrency=tuple(sorted(row.get("concurrency") or self._levels(row["role"]))),
            )
            for row in rows
        ]
        return sorted(specs, key=lambda spec: spec.role != "baseline")

    def _flat(self, role: str) -> dict[str, Any]:
        return {"role": role} | {
            key: getattr(self, f"{role}_{key}") for key in ("name", "api", "url", "model")
        }

    def _levels(self, role: str) -> list[int]:
        return self.concurrency if role == "candidate" else self.baseline_concurrency

    @property
    def outputs_path(self) -> Path:
        """The folder of all runs; a relative one counts from the project's root."""
        return PROJECT_ROOT / Path(self.outputs_dir).expanduser()

    @property
    def uses_demo_data(self) -> bool:
        return self.database == DEMO

    def prompt_text(self) -> str:
        """The prompt sent with every frame.

        Raises:
            SetupProblem: no such prompt file.
        """
        named = PROMPTS_DIR / f"{self.prompt}.txt"
        path = named if named.is_file() else Path(self.prompt).expanduser()
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PROMPTS_DIR.glob("*.txt")))
            raise SetupProblem(f"no prompt '{self.prompt}': give one of {known}, or the path of a text file")
        return path.read_text(encoding="utf-8").strip()

    def api_key(self) -> str | None:
        """The API key from the environment; never a parameter, since parameters are stored in outputs.

        Raises:
            SetupProblem: the key has characters that no HTTP header can carry.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise SetupProblem(
                f"the key in {self.api_key_env} has a line break or a character beyond ASCII, which no HTTP "
                "header can carry: set the variable again"
            )
        return key or None


def canary_prompt() -> str:
    """The prompt under which canaries and frames are sent: the app's line, and the code."""
    return (PROMPTS_DIR / "canary.txt").read_text(encoding="utf-8").strip()
