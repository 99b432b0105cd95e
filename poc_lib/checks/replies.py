"""What one request to each server shows: token counts, limits, thinking."""

from collections.abc import Sequence

from poc_lib.checks.check import Check, ok, problem, warning
from poc_lib.checks.facts import ServerFacts, is_same_model, refused_limit
from poc_lib.checks.sending import CHECK_LIMIT_S
from poc_lib.records import Reply

HIGH_MAX_TOKENS = 4096  # one runaway answer holds vllm-mlx's whole wave: above this for minutes


def check_replies(facts: ServerFacts, max_tokens: int) -> list[Check]:
    """The timed request and the token limit; nothing where none was sent."""
    name, reply = facts.spec.name, facts.reply
    if not facts.sent:
        return []
    if reply is None:
        found = f"no whole answer within {CHECK_LIMIT_S:.0f} s"
        return [problem(f"{name}: one request", found, "look into the server's log")]
    if limit := refused_limit(reply):
        to_do = f"set max_tokens to {limit} or less (1024 is plenty), or start it with --max-request-tokens"
        return [problem(f"{name}: max_tokens", f"{max_tokens} is above the server's limit of {limit}", to_do)]
    return [check_reply(reply), *([] if reply.error_class else [check_max_tokens(facts, reply, max_tokens)])]


def check_reply(reply: Reply) -> Check:
    """Was one request answered, with token counts that include the image?"""
    about = f"{reply.server}: one request"
    if reply.error_class:
        return problem(about, f"{reply.error_class}: {reply.error_message}", _what_to_do(reply))
    found = f"first token after {reply.ttft_s:.2f} s, {reply.total_s:.2f} s in all"
    if reply.server_load_s and reply.server_load_s > 1:
        found += f" (of these {reply.server_load_s:.1f} s to load the model)"
    if not reply.output_tokens:
        to_do = "read frames/s only: tok/s cannot be told for this server"
        return warning(about, f"{found}; no output token count", to_do)
    found += f", {reply.prompt_tokens or 0} prompt and {reply.output_tokens} output tokens"
    if not reply.prompt_tokens:
        return warning(about, found, "read output tok/s only: the prompt's tokens are not counted")
    return ok(about, found)


def _what_to_do(reply: Reply) -> str:
    if reply.error_class == "busy":
        return "stop whoever else uses the server (the app?), and check again"
    if reply.error_class == "empty" and reply.reasoning_chars:
        return "use an instruct model, or raise max_tokens: its thinking took all of them"
    if reply.error_class == "timeout":
        return "raise timeout_s, or look into the server's log"
    return "look into the server's log"


def check_max_tokens(facts: ServerFacts, reply: Reply, max_tokens: int) -> Check:
    """The limit against the context, this answer and a wave of answers."""
    about = f"{facts.spec.name}: max_tokens"
    if (context := _context_length(facts)) and (reply.prompt_tokens or 0) + max_tokens > context:
        found = f"{max_tokens} and {reply.prompt_tokens} prompt tokens exceed the context of {context}"
        to_do = f"set max_tokens lower, or OLLAMA_CONTEXT_LENGTH={2 * context} where Ollama starts"
        return warning(about, found, to_do)
    if _was_cut(reply, max_tokens):
        found = f"the answer was cut at {max_tokens} tokens"
        return warning(about, found, "raise max_tokens, unless that answer repeats itself")
    if max_tokens > HIGH_MAX_TOKENS:
        found = f"{max_tokens}: one runaway answer would hold up all others in flight"
        return warning(about, found, "set max_tokens to 1024 or 2048")
    return ok(about, f"{max_tokens}; {reply.output_tokens or 'an unknown number'} used")


def _context_length(facts: ServerFacts) -> int | None:
    mine = next((e for e in facts.loaded or [] if is_same_model(e, facts.spec.model)), {})
    context = mine.get("context_length")
    return context if isinstance(context, int) and context > 0 else None


def _was_cut(reply: Reply, max_tokens: int) -> bool:
    """vllm-mlx without batching says "stop" even when it cut the text."""
    return reply.finish_reason == "length" or (reply.output_tokens or 0) >= max_tokens


def thinks(facts: ServerFacts) -> bool:
    """Does the model think before it answers: by its own word, or by its answer?"""
    reply = facts.reply
    if "thinking" in facts.identity.details.get("capabilities", []):
        return True
    return reply is not None and (reply.reasoning_chars > 0 or "</think>" in reply.text)


def check_thinking(facts: Sequence[ServerFacts]) -> list[Check]:
    """A thinking model against an instruct one: hidden tokens on one side only."""
    known = [server for server in facts if server.identity.problem is None]
    thinking = [server for server in known if thinks(server)]
    if not thinking:
        return []
    others = [server for server in known if server not in thinking]
    if not others:
        found = f"answers begin with hidden thinking: {', '.join(server.spec.model for server in thinking)}"
        return [warning("thinking", found, "compare frames/s: tok/s counts the thinking, too")]
    return [_unlike(server, others[0]) for server in thinking]


def _unlike(thinking: ServerFacts, other: ServerFacts) -> Check:
    about = f"{thinking.spec.name}: thinking"
    n_chars = thinking.reply.reasoning_chars if thinking.reply else 0
    said = f" ({n_chars} characters before this answer)" if n_chars else ""
    found = f"{thinking.spec.model} thinks{said}, {other.spec.model} at {other.spec.name} does not"
    instruct = _instruct_tag(thinking) or "an instruct model"
    return warning(about, found, f"use {instruct} here: against an instruct model thinking is unfair")


def _instruct_tag(facts: ServerFacts) -> str | None:
    """Ollama's tags qwen3-vl, :4b, :8b … think; the same sizes with -instruct do not."""
    name, _, tag = facts.spec.model.partition(":")
    if facts.spec.api != "ollama" or name != "qwen3-vl":
        return None
    size = tag.partition("-thinking")[0]
    return f"{name}:{size if size not in ('', 'latest') else '8b'}-instruct"
