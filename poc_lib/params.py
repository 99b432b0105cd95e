"""One validated, flat parameter set for all notebooks and the command line."""

import difflib
import os
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from poc_lib.errors import SetupProblem
from poc_lib.records import Api, ServerSpec

PROJECT_ROOT = Path(__file__).resolve().parent.parent
PROMPTS_DIR = PROJECT_ROOT / "params" / "prompts"
DEMO = "demo"

Level = Annotated[int, Field(ge=1, le=512)]


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
    recorded_tok_per_s: float = Field(38.0, gt=0, description="output tok/s; used only without baseline_url")
    recorded_s_per_frame: float = Field(
        8.0, gt=0, description="seconds a frame; used only without baseline_url"
    )
    recorded_frames: int = Field(182, ge=1, description="frames of the recording behind the recorded figures")

    repeats: int = Field(1, ge=1, description="times each cell is measured")
    warmup_requests: int = Field(
        2, ge=0, description="untimed requests per level, at least one a slot; 0: none"
    )
    temperature: float = Field(0.3, ge=0, le=2, description="sampling temperature")
    max_tokens: int = Field(1024, ge=1, description="output tokens per answer at most")
    timeout_s: float = Field(600.0, gt=0, description="seconds without a byte before a request has failed")
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds to connect before a request has failed")
    stop_after_failures: int = Field(10, ge=1, description="failures in a row that end a cell early")
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

    def servers(self) -> list[ServerSpec]:
        """The servers of the run, baseline first; without baseline_url only the candidate."""
        candidate = ServerSpec(
            name=self.candidate_name,
            role="candidate",
            api=self.candidate_api,
            url=self.candidate_url,
            model=self.candidate_model,
            concurrency=tuple(self.concurrency),
        )
        if not self.baseline_url:
            return [candidate]
        baseline = ServerSpec(
            name=self.baseline_name,
            role="baseline",
            api=self.baseline_api,
            url=self.baseline_url,
            model=self.baseline_model,
            concurrency=tuple(self.baseline_concurrency),
        )
        return [baseline, candidate]

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


def validate_params(values: Mapping[str, Any]) -> Params:
    """Check a mapping of parameters.

    Raises:
        SetupProblem: an unknown key (the nearest right one is named) or a value out of range.
    """
    unknown = [key for key in values if key not in Params.model_fields]
    if unknown:
        raise SetupProblem("; ".join(_unknown_key_line(key) for key in unknown))
    try:
        params = Params(**values)
    except ValidationError as error:
        raise SetupProblem("; ".join(_invalid_value_line(e) for e in error.errors())) from None
    if params.baseline_url and params.baseline_name == params.candidate_name:
        raise SetupProblem(
            f"candidate_name and baseline_name are both '{params.candidate_name}': name them apart"
        )
    return params


def params_from_notebook(namespace: Mapping[str, Any]) -> Params:
    """The parameters among a notebook's global names, checked; call it with ``globals()``.

    A plain value whose name nearly is a parameter's is a misspelt key of the params file (papermill only
    warns about those), so it is an error here.
    """
    fields = Params.model_fields
    plain = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and isinstance(value, str | int | float | list | None)
    }
    misspelt = [name for name in plain if name not in fields and _nearest_key(name, cutoff=0.8)]
    if misspelt:
        raise SetupProblem("; ".join(_unknown_key_line(name) for name in misspelt))
    return validate_params({name: namespace[name] for name in fields if name in namespace})


def read_params(path: Path) -> dict[str, Any]:
    """The key-value pairs of a YAML params file, not yet validated.

    Raises:
        SetupProblem: no such file, or its content is not a flat mapping.
    """
    if not path.is_file():
        raise SetupProblem(f"no params file at {path}: the ready ones lie under {PROJECT_ROOT / 'params'}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise SetupProblem(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise SetupProblem(f"{path} holds a {type(values).__name__}, expected lines of 'name: value'")
    return {str(key): _as_written(value) for key, value in values.items()}


def _as_written(value: Any) -> Any:
    """YAML makes a date of `recording: 2026-03-01`; a parameter is the text."""
    return value.isoformat() if isinstance(value, date) else value


def new_run_id(params: Params) -> str:
    """A fresh run id: where the frames come from and the local time to the second."""
    prefix = DEMO if params.uses_demo_data else "run"
    return f"{prefix}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def parameters_cell() -> str:
    """The source of the notebooks' parameters cell: one annotated literal a field, with its help text."""
    lines = []
    for name, info in Params.model_fields.items():
        kind = info.annotation.__name__ if isinstance(info.annotation, type) else _annotation(info.annotation)
        lines.append(f"{name}: {kind} = {_literal(info.default)}  # {info.description}")
    return "\n".join(lines)


def _annotation(annotation: Any) -> str:
    return "list[str]" if annotation == list[str] else "list[int]" if "list" in str(annotation) else "str"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _nearest_key(key: str, cutoff: float = 0.6) -> str | None:
    return next(iter(difflib.get_close_matches(key, Params.model_fields, n=1, cutoff=cutoff)), None)


def _unknown_key_line(key: str) -> str:
    nearest = _nearest_key(key)
    hint = f"did you mean '{nearest}'?" if nearest else "see --help for every parameter"
    return f"unknown parameter '{key}': {hint}"


def _invalid_value_line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    what = error["msg"].removeprefix("Value error, ")
    return f"parameter '{where}' is {error['input']!r}: {what}"
