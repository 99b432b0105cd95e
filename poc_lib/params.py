"""Every parameter once: type, default, help, the flag's group and what it is for; and how they are read."""

import ast
import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from poc_lib.records import Api, Role, Server, SetupProblem
from poc_lib.text import one_line, split_credentials

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEMO = "demo"
API_KEY_VARIABLE = "POC_API_KEY"
STOP_AFTER_FAILURES = 10  # failures in a row that end a cell


def _login_variable(url: str) -> str:
    return f"POC_LOGIN_{url.encode().hex()}"


def _hide_login(url: Any) -> Any:
    """A URL's user and password stay in this process's environment: parameters are stored in outputs."""
    clean, login = split_credentials(url.strip()) if isinstance(url, str) else (url, None)
    if login:
        os.environ[_login_variable(clean)] = url.strip()
    return clean


def _check_run_id(run_id: str) -> str:
    odd = run_id.startswith(".") or any(c in "/\\" or not c.isprintable() for c in run_id)
    if odd or len(run_id.encode()) > 120:
        raise ValueError("a plain folder name of at most 120 bytes, without slashes or line breaks")
    return run_id


def _param(group: str, default: Any, description: str, use: str = "measures", **limits: Any) -> Any:
    """A parameter that ``measures`` (with another value a run is not continued), ``waits`` (how long a thing
    may take), ``shows`` (what is shown of a run) or ``grows`` (may be raised when a run goes on)."""
    return Field(default, description=description, json_schema_extra={"group": group, "use": use}, **limits)


# The groups of flags that --help shows.
_frames = partial(_param, "frames")
_server = partial(_param, "server")
_experiment = partial(_param, "experiment")
_report = partial(_param, "report", use="shows")
_advanced = partial(_param, "advanced")

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Blocks = Annotated[int, Field(ge=0, le=1_000_000_000)]  # what is too many, the plan says
Level = Annotated[int, Field(ge=1, le=512)]
Levels = Annotated[list[Level], Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Url = Annotated[Text, BeforeValidator(_hide_login)]
RunId = Annotated[str, AfterValidator(_check_run_id)]


class ServerRow(BaseModel, extra="forbid", frozen=True, str_strip_whitespace=True):
    """An entry of the parameter ``servers``."""

    name: Name
    role: Role
    api: Api = "openai"
    url: Annotated[Url, Field(min_length=1)]
    model: Name
    concurrency: list[Level] = []  # empty: the levels that the parameters give this role


_from_flag = BeforeValidator(lambda row: json.loads(row) if isinstance(row, str) else row)
ServerRows = list[Annotated[ServerRow, _from_flag]]


class Params(BaseModel, extra="forbid", frozen=True, str_strip_whitespace=True):
    """The parameters of a run. Descriptions are the help texts of the command line."""

    database: Text = _frames(DEMO, "path of escribano.db, or 'demo': a generated one")
    recording: Text = _frames("latest", "'latest', a recording's id, a day or a time window A/B")
    n_frames: Count = _frames(0, "frames that take part; 0: all usable ones, evenly thinned to 500")
    image_width: Count = _frames(0, "scale images down to this many pixels; 0: as stored")
    prompt: Text = _frames("one_line", "a file's name under params/prompts, or a path to a text file")

    candidate_name: Name = _server("vllm-mlx", "label of the server under test")
    candidate_api: Api = _server("openai", "'openai' (vllm-mlx, mlx-vlm, LM Studio, …) or 'ollama'")
    candidate_url: Url = _server(DEMO, "base URL (ends in /v1 for 'openai'), or 'demo': simulated")
    candidate_model: Name = _server("demo-vlm", "model name exactly as the server serves it")
    concurrency: Levels = _server([1, 2, 4, 8], "requests in flight, one level each")
    baseline_name: Name = _server("ollama", "label of the baseline server")
    baseline_api: Api = _server("ollama", "'ollama' or 'openai'")
    baseline_url: Url = _server(DEMO, "base URL, 'demo': simulated, or empty: recorded figures only")
    baseline_model: Text = _server("demo-vlm", "model name exactly as the baseline serves it")
    baseline_concurrency: Levels = _server([1], "requests in flight at the baseline")
    servers: ServerRows = _server([], "all servers as a list, in place of the two above")
    recorded_s_per_frame: Positive = _server(8.0, "seconds a frame, used without baseline_url")

    level: int = _experiment(0, "confirm this level without a pilot; 0: the pilot chooses", ge=0, le=512)
    pilot_blocks: int = _experiment(1, "pilot blocks of every server and level", ge=1, le=1000)
    block_frames: Count = _experiment(0, "frames a block; 0: a multiple of every level, at least three waves")
    max_blocks: Blocks = _experiment(
        12, "confirmation blocks at most; 0: pilot only, no verdict", use="grows"
    )
    proof_frames: int = _experiment(24, "stamped frames a proof cell; 0: no proof", ge=0, le=100_000)
    aborts: bool = _experiment(False, "also a proof cell of which a third is given up in mid-stream")
    open_loop_rates: list[Positive] = _experiment([], "arrivals, as shares of the confirmed frames/s")
    seed: int = _experiment(0, "seed of everything drawn at random", ge=0, le=2**63 - 1)
    temperature: float = _experiment(0.3, "sampling temperature", ge=0, le=2)
    max_tokens: int = _experiment(1024, "output tokens per answer at most", ge=1, le=1_000_000)

    run_id: RunId = _report("", "name of the run folder; empty: a new run, or the newest one to read")
    outputs_dir: Text = _report("outputs", "folder of all run folders, from the project's root")
    note: Text = _report("", "a line about this run, shown on top of its report")
    slo_ttft_s: Seconds = _report(0.0, "open loop: first token within this; 0: no limit")
    slo_total_s: Seconds = _report(0.0, "open loop: answer within this; 0: no limit")
    labels: Text = _report("", "CSV file of human labels; empty: none")
    compare_with: list[str] = _report([], "run ids that the report compares this run with")
    screenshots: bool = _report(False, "show screenshots in the report (they are private)")

    timeout_s: Positive = _advanced(120.0, "seconds without a byte that end a request", use="waits")
    answer_timeout_s: Positive = _advanced(600.0, "seconds an answer may take in all", use="waits")
    transport: Literal["exact", "httpx"] = _advanced("exact", "'exact' stamps at the socket; or 'httpx'")
    demo_faults: list[str] = _advanced([], "faults planted in the simulated candidate, e.g. swap:0.05@8")

    @model_validator(mode="after")
    def _servers_are_told_apart(self) -> "Params":
        names = [server.name for server in self.server_list()]
        if len(set(names)) < len(names):
            raise ValueError(f"two servers are called '{max(names, key=names.count)}': name them apart")
        if all(server.role == "baseline" for server in self.server_list()):
            raise ValueError("no server has the role 'candidate': name the one that is to be judged")
        return self

    def server_list(self) -> list[Server]:
        """The servers of the run, baselines first; without any baseline only candidates."""
        rows = [row.model_dump() for row in self.servers] or [
            {key: getattr(self, f"{role}_{key}") for key in ("name", "api", "url", "model")} | {"role": role}
            for role in ("baseline", "candidate")
            if getattr(self, f"{role}_url")
        ]
        role_levels = {"baseline": self.baseline_concurrency, "candidate": self.concurrency}
        for row in rows:
            levels = row.get("concurrency") or role_levels[row["role"]]
            levels = [self.level] if self.level and row["role"] == "candidate" else levels
            row["concurrency"] = tuple(sorted(set(levels)))
            row["url"] = os.environ.get(_login_variable(row["url"]), row["url"])
        return sorted((Server(**row) for row in rows), key=lambda server: server.role != "baseline")

    @property
    def outputs_path(self) -> Path:
        """The folder of all runs; a relative one counts from the project's root."""
        return PROJECT_ROOT / Path(self.outputs_dir).expanduser()

    @property
    def frames_per_block(self) -> int:
        """Frames of one cell: whole waves of every level in use, at least three of the highest; where the
        levels have no small multiple in common (5, 7, 8), of the highest alone."""
        levels = {level for server in self.server_list() for level in server.concurrency} | {self.level or 1}
        least, step = 3 * max(levels), math.lcm(*levels)
        whole = math.ceil(least / step) * step
        return self.block_frames or (whole if whole <= 4 * least else least)

    def prompt_text(self) -> str:
        """The prompt sent with every frame; SetupProblem: no such file, or it is empty or not UTF-8."""
        folder = PROJECT_ROOT / "params" / "prompts"
        try:
            path = folder / f"{self.prompt}.txt"
            path = path if path.is_file() else Path(self.prompt).expanduser()
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError, RuntimeError):  # ValueError: NUL, not UTF-8; RuntimeError: unknown home
            text = ""
        if text:
            return text
        known = ", ".join(sorted(path.stem for path in folder.glob("*.txt")))
        raise SetupProblem(
            f"no prompt file '{one_line(self.prompt, 60)}' with UTF-8 text in it: expected one of {known}, "
            "or a text file's path; a prompt's text goes into a file"
        )

    def api_key(self) -> str | None:
        """The key from the environment (parameters are stored); SetupProblem: no header can carry it."""
        key = os.environ.get(API_KEY_VARIABLE, "").strip()
        if key.isascii() and key.isprintable():
            return key or None
        raise SetupProblem(f"{API_KEY_VARIABLE} has a line break or a character beyond ASCII: set it again")


def new_run_id(params: Params) -> str:
    """A fresh run id: where the frames come from and the local time to the second."""
    prefix = DEMO if params.database == DEMO else "run"
    return f"{prefix}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def validate_params(values: Mapping[str, Any]) -> Params:
    """Parameters from a mapping; SetupProblem: all that is wrong in it, in one line."""
    params, problems = sift_params(values)
    if problems:
        raise SetupProblem("; ".join(problems))
    return params


def sift_params(values: Mapping[str, Any]) -> tuple[Params, list[str]]:
    """Parameters made of what is right in a mapping, and a line about everything that is wrong."""
    right, problems = dict(values), []
    while True:
        try:
            return Params.model_validate(right), problems
        except ValidationError as failure:
            errors = failure.errors()
        for error in errors:
            where, message = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
            if error["type"] == "extra_forbidden":
                model, kind = (ServerRow, "key of a server") if error["loc"][1:] else (Params, "parameter")
                problems.append(unknown_name(error["loc"][-1], model.model_fields, kind))
            elif error["type"] == "missing":
                problems.append(f"parameter '{where}' is missing")
            else:
                found = re.sub(r"//[^/@\s]*@", "//", repr(error["input"]))  # without a password
                problems.append(
                    f"parameter '{where}' is {one_line(found, 80)}: {message}" if where else message
                )
        wrong = {error["loc"][0] for error in errors if error["loc"]} or set(right)
        right = {name: value for name, value in right.items() if name not in wrong}


def unknown_name(name: str, known: Iterable[str], kind: str) -> str:
    """One line about a name that is none, with the nearest right one."""
    dashes = "--" if name.startswith("--") else ""
    near = difflib.get_close_matches(name.lstrip("-"), [word.lstrip("-") for word in known], n=1, cutoff=0.5)
    hint = f"did you mean '{dashes}{near[0]}'?" if near else "see `python -m poc_lib run --help`"
    return f"unknown {kind} '{one_line(name, 80)}': {hint}"


class _Loader(yaml.SafeLoader):
    """YAML without silent doubles, in which a date stays the text that was written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        if doubled := {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"'{min(doubled)}' is given twice")
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_str)


def read_params_file(path: Path | str) -> dict[str, Any]:
    """The lines of a YAML file, not yet validated; SetupProblem: none is there, or it is not that."""
    try:
        path = Path(path).expanduser()
        path = path if path.is_file() else PROJECT_ROOT / path
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError):  # ValueError: NUL; RuntimeError: unknown home
        ready = PROJECT_ROOT / "params"
        raise SetupProblem(f"no params file at {path}: the ready ones lie under {ready}") from None
    try:
        if len(data) > 1_000_000:
            raise ValueError(f"it has {len(data) / 1e6:.0f} MB")
        values = yaml.load(data, Loader=_Loader) or {}
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of 5,000 digits
        problem = one_line(error, 200)
        raise SetupProblem(f"{path} is not a YAML file of lines 'name: value' in UTF-8: {problem}") from None
    return {str(name): value for name, value in values.items()}


def params_from_notebook(namespace: Mapping[str, Any]) -> Params:
    """The parameters of a notebook, whose ``globals()`` these are; SetupProblem: a misspelt or wrong one.

    What papermill's injected cell assigns goes before what the cell that sets ``params_file`` changes, this
    before the file, and the file before the defaults. Other variables of the notebook never count.
    """
    own, injected = set(), set()
    for source in namespace.get("In", []):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a cell with shell or magic commands
            continue
        targets = [node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                   for node in tree.body if isinstance(node, ast.AnnAssign | ast.Assign)]  # fmt: skip
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if source.lstrip().startswith("# Parameters"):
            injected = names - {"params_file"}
        elif "params_file" in names:
            own = names - {"params_file"}
    defaults = {name: field.default for name, field in Params.model_fields.items()}
    values = read_params_file(namespace["params_file"]) if namespace.get("params_file") else {}
    for name, value in namespace.items():
        if name in injected or (name in own and value != defaults.get(name)):
            values[name] = value
    return validate_params(values)
