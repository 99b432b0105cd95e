"""One file per API: prepare a request, send it, time it, ask who answers. No statistics, no run files."""

from poc_lib.servers.chat import (
    Sending,
    prepare_request,
    prepare_requests,
    request_id,
    run_clock_ns,
    send_request,
)
from poc_lib.servers.exchange import ChatSettings, PreparedRequest, open_client
from poc_lib.servers.identity import check_server, clear_cache

__all__ = [
    "ChatSettings",
    "PreparedRequest",
    "Sending",
    "check_server",
    "clear_cache",
    "open_client",
    "prepare_request",
    "prepare_requests",
    "request_id",
    "run_clock_ns",
    "send_request",
]
