"""The sampling process: takes its spec on standard input and ends when that closes."""

import json
import sys
import threading
import time

import httpx
import orjson

from poc_lib.records import Server
from poc_lib.telemetry.machine import machine_reader, memory_reader
from poc_lib.telemetry.said import ask_server, routes_of
from poc_lib.text import authorize


def main() -> None:
    """Sample until standard input closes; one line a sample on standard output."""
    spec = json.loads(sys.stdin.readline())
    servers = [Server(**{**server, "concurrency": ()}) for server in spec["servers"]]
    closed, writing = threading.Event(), threading.Lock()

    def write(source: str, **figures: object) -> None:
        at_s = round((time.perf_counter_ns() - spec["start_ns"]) / 1e9, 6)
        line = {"sitting": spec["sitting"], "source": source, "at_s": at_s, **figures}
        with writing:
            sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.buffer.flush()

    def watch_server(server: Server) -> None:
        routes, (_, headers) = routes_of(server), authorize(server.url, spec["api_key"])
        with httpx.Client(trust_env=False, timeout=spec["timeout_s"], headers=headers) as client:
            while routes and not closed.is_set():
                write("server", server=server.name, **ask_server(client, server, routes))
                closed.wait(spec["every_s"])

    def watch_machine() -> None:
        read, memory = machine_reader(), {server.name: memory_reader(server.url) for server in servers}
        while not closed.is_set():
            write("machine", **read())
            for name, read_memory in memory.items():
                if (rss_gb := read_memory()) is not None:
                    write("process", server=name, rss_gb=rss_gb)
            closed.wait(spec["every_s"])

    def note(failure: threading.ExceptHookArgs) -> None:
        failures.append(failure)
        threading.__excepthook__(failure)

    failures: list[threading.ExceptHookArgs] = []
    threading.excepthook = note
    for target, arguments in [(watch_machine, ()), *((watch_server, (server,)) for server in servers)]:
        threading.Thread(target=target, args=arguments, daemon=True).start()
    sys.stdin.read()  # a lifeline: it closes with the process that measures, however that ends
    closed.set()
    sys.exit(bool(failures))  # what ended a thread was said on standard error


main()
