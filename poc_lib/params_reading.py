"""Parameters from a notebook, a YAML file or the command line: checked, with one clear line when wrong."""

import difflib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from poc_lib.errors import SetupProblem
from poc_lib.params import DEMO, PROJECT_ROOT, Params
from poc_lib.records import Api, Role


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
    _refuse_odd_servers(params)
    return params


def _refuse_odd_servers(params: Params) -> None:
    try:
        specs = params.server_specs()
    except TypeError as error:
        raise SetupProblem(
            f"a server's concurrency is a list of whole numbers, like [1, 4]: {error}"
        ) from None
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SetupProblem(f"two servers are called '{twice[0]}': name them apart")
    for spec in specs:
        if spec.role not in get_args(Role) or spec.api not in get_args(Api):
            raise SetupProblem(
                f"server '{spec.name}' has role '{spec.role}' and api '{spec.api}': expected baseline or "
                "candidate, and openai or ollama"
            )
        if not all(isinstance(level, int) and 1 <= level <= 512 for level in spec.concurrency):
            raise SetupProblem(f"server '{spec.name}' has concurrency {spec.concurrency}: expected 1 to 512")
    if not any(spec.role == "candidate" for spec in specs):
        raise SetupProblem("no server has the role 'candidate': name the one that is to be judged")


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
    if get_origin(annotation) is not list:
        return "str"
    item = get_args(annotation)[0]
    named = {"float": "list[float]", "int": "list[int]", "dict": "list[dict]"}
    return next((text for name, text in named.items() if name in str(item)), "list[str]")


def _literal(value: Any) -> str:
    return repr(value).replace("'", '"')


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
