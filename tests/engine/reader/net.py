"""Qwen3-VL's forward pass in JAX, under mlx_vlm's parameter names, shaped as model/config.json says."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

MODEL = Path(__file__).with_name("model")
CONFIG = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
TEXT, VISION, VOCABULARY = CONFIG["text_config"], CONFIG["vision_config"], CONFIG["vocab_size"]
WIDTH, CELL, GRID = 1024, 32, math.isqrt(VISION["num_position_embeddings"])  # px, px, learned places a side
LAYER, BLOCK, MERGER = "language_model.model.layers.{}.", "vision_tower.blocks.{}.", "vision_tower.merger."
PATCH, PLACES, FINAL = "vision_tower.patch_embed.proj", "vision_tower.pos_embed", "language_model.model.norm"
EMBED = "language_model.model.embed_tokens"


def init_params(seed: int) -> dict[str, np.ndarray]:
    """Draw the first weights: matrices normal, norms one, biases (of the vision part) zero."""
    rng, d, v = np.random.default_rng(seed), TEXT["hidden_size"], VISION["hidden_size"]
    inner, wide, size = TEXT["intermediate_size"], VISION["intermediate_size"], TEXT["head_dim"]
    query, key = TEXT["num_attention_heads"] * size, TEXT["num_key_value_heads"] * size
    shapes = {PATCH: (v, 2, 16, 16, 3), PLACES: (GRID * GRID, v), EMBED: (VOCABULARY, d), FINAL: (d,)}
    shapes |= {MERGER + "norm": (v,), MERGER + "linear_fc1": (4 * v, 4 * v)}
    shapes |= {MERGER + "linear_fc2": (d, 4 * v)}
    block = {"norm1": (v,), "norm2": (v,), "attn.qkv": (3 * v, v), "attn.proj": (v, v)}
    block |= {"mlp.linear_fc1": (wide, v), "mlp.linear_fc2": (v, wide)}
    layer = {"self_attn.q_proj": (query, d), "self_attn.k_proj": (key, d), "self_attn.v_proj": (key, d)}
    layer |= {"self_attn.o_proj": (d, query), "self_attn.q_norm": (size,), "self_attn.k_norm": (size,)}
    layer |= {"mlp.gate_proj": (inner, d), "mlp.up_proj": (inner, d), "mlp.down_proj": (d, inner)}
    layer |= {"input_layernorm": (d,), "post_attention_layernorm": (d,)}
    parts = (BLOCK, VISION["depth"], block), (LAYER, TEXT["num_hidden_layers"], layer)
    for part, count, inside in parts:
        shapes |= {part.format(i) + name: shape for i in range(count) for name, shape in inside.items()}
    params = {}
    for name, shape in shapes.items():
        scale = 0.02 if name in (PLACES, EMBED) else math.prod(shape[1:]) ** -0.5
        drawn = rng.standard_normal(shape) * scale if len(shape) > 1 else np.ones(shape)
        params[name + ".weight"] = drawn.astype(np.float32)
        if name.startswith("vision") and name != PLACES:
            params[name + ".bias"] = np.zeros(shape[0], np.float32)
    return params


def _linear(p, name, x):
    return x @ p[name + ".weight"].T + p.get(name + ".bias", 0)


def _rms_norm(p, name, x):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * p[name + ".weight"]


def _layer_norm(p, name, x):
    return _rms_norm(p, name, x - x.mean(-1, keepdims=True)) + p[name + ".bias"]


def _rotate(x, angles):
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = (f(angles).astype(np.float32)[:, None] for f in (np.cos, np.sin))
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _attend(q, k, v, mask=True):
    q, k, v = (y.transpose(0, 2, 1, 3) for y in (q, k, v))
    k, v = (jnp.repeat(y, q.shape[1] // y.shape[1], axis=1) for y in (k, v))
    scores = jnp.where(mask, q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5, -1e9)
    return (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(len(q), q.shape[2], -1)


def see(p, pixels):
    """Turn uint8 pixels (b, height, width, 3) into image tokens (b, height / 32 × width / 32, d)."""
    b, rows, cols, size = len(pixels), pixels.shape[1] // CELL, pixels.shape[2] // CELL, VISION["hidden_size"]
    x = (pixels / jnp.float32(127.5) - 1).reshape(b, rows, 2, 16, cols, 2, 16, 3)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, rows * cols * 4, 768)
    weight = p[PATCH + ".weight"].sum(1).reshape(size, 768)  # both pictures of a pair in time are the same
    x = x @ weight.T + p[PATCH + ".bias"]

    def ordered(grid):  # as the processor orders patches: four by four
        return grid.reshape(rows, 2, cols, 2, -1).swapaxes(1, 2).reshape(rows * cols * 4, -1)

    places = (np.linspace(0, GRID - 1, n)[:, None] for n in (2 * rows, 2 * WIDTH // CELL))
    along, across = (np.maximum(0, 1 - np.abs(at - np.arange(GRID))).astype(np.float32) for at in places)
    learned = p[PLACES + ".weight"].reshape(GRID, GRID, size)
    x = x + ordered(jnp.einsum("hi,wj,ijd->hwd", along, across[: 2 * cols], learned))
    heads, head = VISION["num_heads"], size // VISION["num_heads"]
    steps = 10000.0 ** -(np.arange(0, head // 2, 2) / (head // 2))
    place = ordered(np.moveaxis(np.indices((2 * rows, 2 * cols)), 0, -1))
    angles = (place[..., None] * steps).reshape(len(place), -1)
    for i in range(VISION["depth"]):
        at = BLOCK.format(i)
        qkv = _linear(p, at + "attn.qkv", _layer_norm(p, at + "norm1", x)).reshape(b, -1, 3, heads, head)
        seen = _attend(_rotate(qkv[:, :, 0], angles), _rotate(qkv[:, :, 1], angles), qkv[:, :, 2])
        x = x + _linear(p, at + "attn.proj", seen)
        inner = _linear(p, at + "mlp.linear_fc1", _layer_norm(p, at + "norm2", x))
        x = x + _linear(p, at + "mlp.linear_fc2", jax.nn.gelu(inner, approximate=True))
    x = _layer_norm(p, MERGER + "norm", x).reshape(b, rows * cols, -1)
    inner = jax.nn.gelu(_linear(p, MERGER + "linear_fc1", x), approximate=False)
    return _linear(p, MERGER + "linear_fc2", inner)


def forward(p, before, pixels, after, ids):
    """Return the logits of `ids` (b, n), each seeing those before it: `before` (t), image, `after`, ids.

    Pixels narrower than WIDTH count as the left part of a picture of that width: a cheap start for training.
    """
    rows, cols = pixels.shape[1] // CELL, pixels.shape[2] // CELL
    embed, size, (b, n), t = p[EMBED + ".weight"], TEXT["head_dim"], ids.shape, len(before)
    head, tail = jnp.tile(before, (b, 1)), jnp.concatenate([jnp.tile(after, (b, 1)), ids[:, :-1]], axis=1)
    x = jnp.concatenate([embed[head], see(p, pixels), embed[tail]], axis=1)
    # time, row and column of each token; those of text are one number
    first, image = np.tile(np.arange(t), (3, 1)), t + np.indices((1, rows, cols)).reshape(3, -1)
    last = np.tile(t + max(rows, WIDTH // CELL) + np.arange(tail.shape[1]), (3, 1))
    places = np.concatenate([first, image, last], axis=1)
    section = TEXT["rope_scaling"]["mrope_section"]
    axes = [i % 3 if i < section[i % 3] * 3 else 0 for i in range(size // 2)]  # time, height, width in turn
    angles = places[axes].T * TEXT["rope_theta"] ** -(np.arange(0, size, 2) / size)
    for i in range(TEXT["num_hidden_layers"]):
        at, own = LAYER.format(i), LAYER.format(i) + "self_attn."
        h = _rms_norm(p, at + "input_layernorm", x)
        q, k, v = (_linear(p, f"{own}{c}_proj", h).reshape(*h.shape[:2], -1, size) for c in "qkv")
        q, k = (_rotate(_rms_norm(p, own + name, y), angles) for name, y in (("q_norm", q), ("k_norm", k)))
        x = x + _linear(p, own + "o_proj", _attend(q, k, v, np.tri(x.shape[1], dtype=bool)))
        h = _rms_norm(p, at + "post_attention_layernorm", x)
        gate = jax.nn.silu(_linear(p, at + "mlp.gate_proj", h))
        x = x + _linear(p, at + "mlp.down_proj", gate * _linear(p, at + "mlp.up_proj", h))
    return _rms_norm(p, FINAL, x[:, -n:]) @ embed.T
