"""The process behind a local server: its version, flags and settings, as far as this user may look."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from poc_lib.telemetry.machine import local_port

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server's process on this machine."""

    pid: int
    arguments: tuple[str, ...] = ()  # () where this user may not look
    settings: dict[str, str] | None = None  # its OLLAMA_… variables; None where the system hides them
    vllm_mlx_version: str | None = None
    children: tuple[tuple[str, ...], ...] = ()  # their arguments: Ollama runs each model in one


def find_server_process(url: str) -> ServerProcess | None:
    """The process that listens at a local URL; None for another machine, or where looking is not allowed."""
    port = local_port(url)
    pid = None if port is None else _find_listener(port)
    if pid is None:
        return None
    try:
        return _describe(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


def _find_listener(port: int) -> int | None:
    try:
        sockets = psutil.net_connections("tcp")  # at once; macOS allows it to root only
    except psutil.AccessDenied:
        return next((process.pid for process in psutil.process_iter() if _listens(process, port)), None)
    return next((s.pid for s in sockets if s.pid and _is_listener(s, port)), None)


def _listens(process: psutil.Process, port: int) -> bool:
    sockets = _if_allowed(lambda: process.net_connections("tcp"), [])
    return any(_is_listener(s, port) for s in sockets)


def _is_listener(socket: object, port: int) -> bool:
    return socket.status == psutil.CONN_LISTEN and bool(socket.laddr) and socket.laddr.port == port


def _describe(process: psutil.Process) -> ServerProcess:
    arguments = tuple(_if_allowed(process.cmdline, []))
    environment = _if_allowed(process.environ, {})
    children = _if_allowed(process.children, [])
    return ServerProcess(
        pid=process.pid,
        arguments=arguments,
        # macOS hands out an empty environment where it hides one; keys and tokens in it are not ours to keep.
        settings={k: v for k, v in environment.items() if k.startswith("OLLAMA_")} if environment else None,
        vllm_mlx_version=_installed_version(_programs(process, arguments, environment)),
        children=tuple(tuple(_if_allowed(child.cmdline, [])) for child in children),
    )


def _if_allowed(read: Callable[[], Kind], otherwise: Kind) -> Kind:
    """One fact of a process; each is denied, or gone, on its own."""
    try:
        return read()
    except (psutil.Error, OSError):
        return otherwise


def _programs(process: psutil.Process, arguments: tuple[str, ...], environment: dict) -> list[Path]:
    """Where the script and the interpreter lie that run vllm-mlx; nothing for another program."""
    if not any("vllm" in argument for argument in arguments):
        return []
    folder = Path(_if_allowed(process.cwd, "/"))
    # A framework build of Python on macOS shows its own path as the interpreter's, not the environment's.
    named = [*arguments[:2], environment.get("__PYVENV_LAUNCHER__", ""), _if_allowed(process.exe, "")]
    return [folder / name for name in named if "/" in name]


def _installed_version(programs: Iterable[Path]) -> str | None:
    """The version of vllm-mlx in the environment of the script or the interpreter; links are followed."""
    for program in programs:
        for path in (program, _if_allowed(program.resolve, program)):
            for info in path.parent.parent.glob("lib/python3*/site-packages/vllm_mlx-*.dist-info"):
                return info.name.removeprefix("vllm_mlx-").removesuffix(".dist-info")
    return None


def version_numbers(version: str) -> tuple[int, ...]:
    """'0.5.10rc1' as (0, 5, 10), to be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def flag_value(arguments: Iterable[str], *flags: str) -> str | None:
    """The value of a command-line flag, written ``--flag value`` or ``--flag=value``."""
    words = list(arguments)
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in flags:
            return value if equals else next(iter(words[index + 1 : index + 2]), None)
    return None
