"""Parameters from a YAML file, a notebook or a mapping: checked, with one clear line when wrong."""

import ast
import difflib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from poc_lib.params import DEMO, PROJECT_ROOT, Params
from poc_lib.records import SetupProblem

MAX_FILE_BYTES = 1_000_000
BEYOND_64_BITS = 2**63


def validate_params(values: Mapping[str, Any]) -> Params:
    """Check a mapping of parameters.

    Raises:
        SetupProblem: unknown keys (the nearest right one is named) or values out of range, all at once.
    """
    params, problems = sift_params(values)
    if problems:
        raise SetupProblem("; ".join(problems))
    return params


def sift_params(values: Mapping[str, Any]) -> tuple[Params, list[str]]:
    """Parameters made of what is right in a mapping, and a line about everything that is wrong."""
    right = {key: value for key, value in values.items() if key in Params.model_fields}
    problems = [unknown_name(key, Params.model_fields, "parameter") for key in values if key not in right]
    while True:
        try:
            return Params(**right), problems
        except ValidationError as error:
            problems += [_invalid_line(e) for e in error.errors()]
            wrong = {e["loc"][0] for e in error.errors() if e["loc"]} or right.keys()
            right = {key: value for key, value in right.items() if key not in wrong}


def unknown_name(name: str, known: Mapping | list[str], kind: str) -> str:
    """One line about a name that is none, with the nearest right one."""
    nearest = difflib.get_close_matches(
        str(name).lstrip("-"), [k.lstrip("-") for k in known], n=1, cutoff=0.5
    )
    prefix = "--" if str(name).startswith("--") else ""
    hint = f"did you mean '{prefix}{nearest[0]}'?" if nearest else "see `python -m poc_lib run --help`"
    return f"unknown {kind} '{name}': {hint}"


def read_params_file(path: Path | str) -> dict[str, Any]:
    """The lines of a YAML params file, not yet validated.

    Raises:
        SetupProblem: no such file, not UTF-8, not YAML, a key given twice, or no flat mapping.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        path = PROJECT_ROOT / path
    try:
        data = path.read_bytes()
    except (OSError, ValueError):
        raise SetupProblem(
            f"no params file at {path}: the ready ones lie under {PROJECT_ROOT / 'params'}"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise SetupProblem(f"{path} has {len(data) / 1e6:.0f} MB: expected a params file of some lines")
    try:
        values = yaml.load(data.decode("utf-8-sig"), Loader=_OnceLoader) or {}
    except UnicodeDecodeError:
        raise SetupProblem(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2026-13-45, a number of 5,000 digits
        raise SetupProblem(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from None
    except RecursionError:
        raise SetupProblem(f"{path} is nested too deeply: expected lines of 'name: value'") from None
    if not isinstance(values, dict):
        raise SetupProblem(f"{path} holds a {type(values).__name__}, expected lines of 'name: value'")
    return {
        str(key): value.isoformat() if isinstance(value, date) else value for key, value in values.items()
    }


class _OnceLoader(yaml.SafeLoader):
    """YAML without silent doubles."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        doubled = {key for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.YAMLError(f"'{min(doubled)}' is given twice")
        return super().construct_mapping(node, deep)


def params_from_notebook(namespace: Mapping[str, Any]) -> Params:
    """The parameters of a notebook: defaults, then params_file, then what its parameter cells set.

    Args:
        namespace: the notebook's ``globals()``. Parameters are the names that the cell which sets
            ``params_file`` and papermill's injected cell assign; other variables of yours never count.

    Raises:
        SetupProblem: a misspelt or wrong parameter, or no such params_file.
    """
    assigned, injected = _assigned_names(namespace.get("In", []))
    given = {
        name: namespace[name] for name in assigned | injected if name in namespace and name != "params_file"
    }
    from_file = read_params_file(namespace["params_file"]) if namespace.get("params_file") else {}
    # a value of the notebook's own cell that is its default must not hide the file's
    defaults = {name: field.default for name, field in Params.model_fields.items()}
    own = {k: v for k, v in given.items() if k in injected or k not in from_file or v != defaults.get(k)}
    return validate_params(from_file | own)


def _assigned_names(cells: list[str]) -> tuple[set[str], set[str]]:
    """The names that the newest parameters cell and papermill's injected cell assign."""
    own: set[str] = set()
    injected: set[str] = set()
    for source in cells:
        is_injected = source.lstrip().startswith("# Parameters")
        if not is_injected and "params_file" not in source:
            continue
        try:
            statements = ast.parse(source).body
        except SyntaxError:
            continue
        targets = [node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                   for node in statements if isinstance(node, ast.AnnAssign | ast.Assign)]  # fmt: skip
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if is_injected:
            injected = names - {"params_file"}
        elif "params_file" in names:
            own = names
    return own, injected


def _invalid_line(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    what = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    if not where:
        return what
    if type(value) is int and abs(value) >= BEYOND_64_BITS:
        return f"parameter '{where}' is a number of {value.bit_length()} bits: {what}"
    shown = repr(value)
    return f"parameter '{where}' is {shown if len(shown) <= 80 else shown[:77] + '…'}: {what}"


def new_run_id(params: Params) -> str:
    """A fresh run id: where the frames come from and the local time to the second."""
    prefix = DEMO if params.database == DEMO else "run"
    return f"{prefix}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
