"""Servers: prepare a request, send it, time it exactly, read the answer; ask who answers."""

from poc_lib.client.chat import (
    ChatSettings,
    PreparedRequest,
    Sending,
    open_client,
    prepare_request,
    send_request,
)
from poc_lib.client.identity import check_server, clear_cache, find_listener, quantisation, replay_risk
from poc_lib.client.transport import ExactTransport, Exchange, fetch

__all__ = [
    "ChatSettings", "ExactTransport", "Exchange", "PreparedRequest", "Sending", "check_server", "clear_cache",
    "fetch", "find_listener", "open_client", "prepare_request", "quantisation", "replay_risk", "send_request",
]  # fmt: skip
