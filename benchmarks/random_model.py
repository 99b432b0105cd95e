"""Build a random-weight model that real servers load: speed and plumbing can be tried without a download.

The answers are letters without meaning; the work per token and per image is that of the shape asked for.

    .venv-engine/bin/python benchmarks/random_model.py OUT_DIR --model qwen3-vl-4b --bits 4
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import shutil
import tempfile
from pathlib import Path
from string import ascii_lowercase

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import qwen3
from mlx_vlm.models import qwen3_vl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

WEIGHT_GAIN = 2.0  # deviation x sqrt(inputs) of a matrix: enough that another image gives another answer
QUANT_GROUP_WEIGHTS = 64
MAX_POSITIONS = 262144
SHARD_BYTES = 2 << 30
RECORD_FILE = "random_model.json"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION_TOKENS)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}{{ message.content }}{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('image', 'image_url') or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


@dataclasses.dataclass(frozen=True)
class TextShape:
    """The language part; fields are named as in config.json."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int


@dataclasses.dataclass(frozen=True)
class VisionShape:
    """The image part, likewise: `patch_size` in pixels, merge x merge patches make one image token."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    deepstack_visual_indexes: tuple[int, ...]
    patch_size: int = 16
    spatial_merge_size: int = 2
    temporal_patch_size: int = 2


@dataclasses.dataclass(frozen=True)
class RandomModel:
    """Everything that decides the files, except the seed and the quantisation."""

    vocab_size: int
    text: TextShape
    vision: VisionShape | None = None
    mrope_section: tuple[int, int, int] = (12, 10, 10)  # rotary pairs for time, height, width
    max_image_px: int = 65536  # an image of a larger area is scaled down to this many pixels
    dtype: str = "float32"


TINY_TEXT = RandomModel(2048, TextShape(4, 256, 512, 4, 2, 64))
TINY = RandomModel(2048, TextShape(4, 256, 512, 4, 2, 64), VisionShape(2, 64, 128, 4, (0,)))
QWEN3_VL_4B = RandomModel(
    151936,
    TextShape(36, 2560, 9728, 32, 8, 128),
    VisionShape(24, 1024, 4096, 16, (5, 11, 17)),
    mrope_section=(24, 20, 20),
    max_image_px=16777216,
    dtype="bfloat16",
)
MODELS = {"tiny": TINY, "tiny-text": TINY_TEXT, "qwen3-vl-4b": QWEN3_VL_4B}


class OtherModelError(ValueError):
    """The folder holds something else than the model asked for; it is left as it is."""


def build_model(model: RandomModel, out_dir: Path, *, seed: int = 0, bits: int | None = None) -> bool:
    """Write the model into `out_dir`; False if it is already there, OtherModelError if another one is."""
    record = json.dumps({"model": dataclasses.asdict(model), "seed": seed, "bits": bits})
    if out_dir.exists():
        check_same_model(out_dir, record)
        return False
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    temp_dir = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    temp_dir.chmod(0o755)
    try:
        write_model(model, temp_dir, seed, bits)
        (temp_dir / RECORD_FILE).write_text(record, encoding="utf-8")
        temp_dir.rename(out_dir)
    finally:
        shutil.rmtree(temp_dir, ignore_errors=True)
    return True


def check_same_model(out_dir: Path, record: str) -> None:
    """Raise OtherModelError unless `out_dir` was built from the same record."""
    path = out_dir / RECORD_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != record:
        raise OtherModelError(f"{out_dir} exists and is not this model: choose another folder or remove it.")


def write_model(model: RandomModel, out_dir: Path, seed: int, bits: int | None) -> None:
    """Write tokenizer, configuration and weights."""
    write_tokenizer(model, out_dir)
    config = model_config(model, bits)
    write_json(out_dir, "config.json", config)
    write_json(out_dir, "generation_config.json", {"eos_token_id": config["eos_token_id"]})
    if model.vision:
        write_json(out_dir, "preprocessor_config.json", preprocessor_config(model))
    write_weights(random_network(model, config, seed, bits), out_dir)


def write_json(folder: Path, name: str, value: dict) -> None:
    """Write `value` in a stable layout."""
    (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_tokenizer(model: RandomModel, out_dir: Path) -> None:
    """Write a byte-level BPE tokenizer with exactly `vocab_size` readable tokens, nothing trained."""
    alphabet = sorted(ByteLevel.alphabet())
    merges = list(itertools.islice(letter_merges(), model.vocab_size - len(alphabet) - len(SPECIAL_TOKENS)))
    tokens = alphabet + [left + right for left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(out_dir / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": MAX_POSITIONS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(out_dir, "tokenizer_config.json", settings)


def letter_merges() -> itertools.chain:
    """Merges that spell two to five letters; most have a leading space, as in a real vocabulary (475,930)."""
    pairs = list(itertools.product("Ġ" + ascii_lowercase, ascii_lowercase))
    spaced, plain = ["".join(pair) for pair in pairs[:26]], ["".join(pair) for pair in pairs[26:]]
    triples = list(itertools.product(spaced, ascii_lowercase))
    longer = itertools.product(itertools.chain(spaced, map("".join, triples)), plain)
    return itertools.chain(pairs, triples, longer)


def token_id(model: RandomModel, token: str) -> int:
    """Return the id of a special token: they are the last of the vocabulary."""
    return model.vocab_size - len(SPECIAL_TOKENS) + SPECIAL_TOKENS.index(token)


def model_config(model: RandomModel, bits: int | None) -> dict:
    """Return config.json: Qwen3-VL, or Qwen3 where there is no image part."""
    config = vision_language_config(model) if model.vision else text_config(model) | {"model_type": "qwen3"}
    config["eos_token_id"] = token_id(model, "<|im_end|>")
    config["pad_token_id"] = token_id(model, "<|endoftext|>")
    if bits:
        quantization = {"group_size": QUANT_GROUP_WEIGHTS, "bits": bits, "mode": "affine"}
        config |= {"quantization": quantization, "quantization_config": quantization}
    return config


def vision_language_config(model: RandomModel) -> dict:
    """Return the Qwen3-VL configuration without end tokens."""
    marks = ("image_pad", "image"), ("video_pad", "video"), ("vision_start",) * 2, ("vision_end",) * 2
    return {
        "model_type": "qwen3_vl",
        "vocab_size": model.vocab_size,
        "tie_word_embeddings": True,
        "text_config": text_config(model),
        "vision_config": vision_config(model),
        **{f"{key}_token_id": token_id(model, f"<|{mark}|>") for mark, key in marks},
    }


def text_config(model: RandomModel) -> dict:
    """Return the language part's configuration."""
    config = dataclasses.asdict(model.text) | {
        "model_type": "qwen3_vl_text",
        "vocab_size": model.vocab_size,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000000.0,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
    }
    if model.vision:
        section = list(model.mrope_section)
        config["rope_scaling"] = {"type": "default", "mrope_section": section, "mrope_interleaved": True}
    return config


def vision_config(model: RandomModel) -> dict:
    """Return the image part's configuration."""
    return dataclasses.asdict(model.vision) | {
        "model_type": "qwen3_vl",
        "out_hidden_size": model.text.hidden_size,
        "spatial_patch_size": model.vision.patch_size,
        "num_position_embeddings": 2304,
    }


def preprocessor_config(model: RandomModel) -> dict:
    """Return how images are cut; the format calls areas in pixels `_edge`."""
    return {
        "patch_size": model.vision.patch_size,
        "merge_size": model.vision.spatial_merge_size,
        "temporal_patch_size": model.vision.temporal_patch_size,
        "size": {"shortest_edge": 4096, "longest_edge": model.max_image_px},
    }


def random_network(model: RandomModel, config: dict, seed: int, bits: int | None) -> nn.Module:
    """Return the network with normal random weights, the language part in `bits` bits if given."""
    mx.random.seed(seed)
    module, args = (qwen3_vl, "ModelConfig") if model.vision else (qwen3, "ModelArgs")
    network = module.Model(getattr(module, args).from_dict(config))
    draw_weights(network, getattr(mx, model.dtype))
    if bits:
        quantize_in_place(network.language_model if model.vision else network, bits)
    return network


def draw_weights(network: nn.Module, dtype: mx.Dtype) -> None:
    """Replace every matrix by a normal draw, lazily; norms and biases keep their first values."""
    drawn = [
        (name, (random_matrix(old.shape) if old.ndim > 1 else old).astype(dtype))
        for name, old in tree_flatten(network.parameters())
    ]
    network.update(tree_unflatten(drawn))


def random_matrix(shape: tuple[int, ...]) -> mx.array:
    """Return a normal draw whose deviation falls with the number of inputs, as in a trained network."""
    return mx.random.normal(shape) * (WEIGHT_GAIN / math.prod(shape[1:]) ** 0.5)


def quantize_in_place(network: nn.Module, bits: int) -> None:
    """Quantise one layer at a time, so that memory holds one full matrix at most (the vision part stays)."""
    layers = [(name, layer) for name, layer in network.named_modules() if hasattr(layer, "to_quantized")]
    while layers:
        name, layer = layers.pop()  # taken off the list, or it would keep the full matrix alive
        quantized = layer.to_quantized(QUANT_GROUP_WEIGHTS, bits)
        mx.eval(quantized.parameters())
        network.update_modules(tree_unflatten([(name, quantized)]))


def write_weights(network: nn.Module, out_dir: Path) -> None:
    """Write shards of at most about two GiB; the engines read every *.safetensors, so no index is needed."""
    shards: list[dict[str, mx.array]] = [{}]
    for name, array in tree_flatten(network.parameters()):
        if sum(other.nbytes for other in shards[-1].values()) + array.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = array
    for i, shard in enumerate(shards, start=1):
        path = out_dir / f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        mx.save_safetensors(str(path), shard, metadata={"format": "mlx"})


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, choices=(2, 3, 4, 6, 8), help="quantise the language part")
    args = parser.parse_args()
    built = build_model(MODELS[args.model], args.out_dir, seed=args.seed, bits=args.bits)
    print(f"{'built' if built else 'already complete'}: {args.out_dir}")


if __name__ == "__main__":
    main()
