"""Build a random-weight model that real servers load: speed and plumbing can be tried without a download.

The answers are letters without meaning; the work per token and per image is that of the shape asked for.

    .venv-engine/bin/python benchmarks/random_model.py OUT_DIR --model qwen3-vl-4b --bits 4
"""

import argparse
import itertools
import json
import math
import tempfile
from pathlib import Path
from string import ascii_lowercase

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models import qwen3
from mlx_lm.utils import save_model
from mlx_vlm.models import qwen3_vl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

WEIGHT_GAIN = 2.0  # deviation x sqrt(inputs) of a matrix: enough that another image gives another answer
GROUP_WEIGHTS = 64  # that share a scale in quantisation
MAX_POSITIONS = 262144
RECORD = "random_model.json"  # written last: what the folder was built as
MARKS = ("image_pad", "video_pad", "vision_start", "vision_end")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|{mark}|>" for mark in MARKS))
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
HEADS = "num_attention_heads num_key_value_heads"
TEXT_NAMES = f"num_hidden_layers hidden_size intermediate_size head_dim {HEADS}"
VISION_NAMES = "depth hidden_size intermediate_size num_heads"
SHAPES = {  # vocabulary, TEXT_NAMES, VISION_NAMES, layers that look deeper, rotary sections, pixels, type
    "tiny": (2048, (4, 256, 512, 64, 4, 2), (2, 64, 128, 4), [0], [12, 10, 10], 65536, mx.float32),
    "tiny-text": (2048, (4, 256, 512, 64, 4, 2), None, [], None, 0, mx.float32),
    "qwen3-vl-4b": (151936, (36, 2560, 9728, 128, 32, 8), (24, 1024, 4096, 16), [5, 11, 17], [24, 20, 20],
                    16777216, mx.bfloat16),
}  # fmt: skip


def build_model(name: str, out_dir: Path, seed: int = 0, bits: int | None = None) -> None:
    """Write a model of SHAPES into ``out_dir``, which appears when it is complete; one that is there stays.

    SystemExit where ``out_dir`` holds something else.
    """
    record = json.dumps({"model": name, "seed": seed, "bits": bits})
    if out_dir.exists():
        if not (out_dir / RECORD).is_file() or (out_dir / RECORD).read_text() != record:
            raise SystemExit(f"{out_dir} exists and is not this model: choose another folder or remove it")
        return
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".random-model-", dir=out_dir.parent) as building:
        folder = Path(building) / out_dir.name
        folder.mkdir()
        write_tokenizer(folder, SHAPES[name][0])
        config = model_config(name, bits)
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"]}))
        if pixels := SHAPES[name][5]:  # the format calls areas in pixels edges
            size = {"shortest_edge": 4096, "longest_edge": pixels}
            cut = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": size}
            (folder / "preprocessor_config.json").write_text(json.dumps(cut))
        save_model(folder, random_network(name, config, seed, bits), donate_model=True)
        (folder / RECORD).write_text(record)
        folder.rename(out_dir)


def write_tokenizer(folder: Path, vocab_size: int) -> None:
    """Write a byte-level BPE tokenizer with exactly ``vocab_size`` readable tokens, nothing trained.

    Its merges spell two to five letters; most tokens have a leading space, as in a real vocabulary (475,930).
    """
    pairs = list(itertools.product("Ġ" + ascii_lowercase, ascii_lowercase))
    spaced, plain = ["".join(pair) for pair in pairs[:26]], ["".join(pair) for pair in pairs[26:]]
    triples = list(itertools.product(spaced, ascii_lowercase))
    longer = itertools.product(itertools.chain(spaced, map("".join, triples)), plain)
    alphabet = sorted(ByteLevel.alphabet())
    n_merges = vocab_size - len(alphabet) - len(SPECIAL)
    merges = list(itertools.islice(itertools.chain(pairs, triples, longer), n_merges))
    tokens = alphabet + [left + right for left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": MAX_POSITIONS}
    settings |= {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def model_config(name: str, bits: int | None) -> dict:
    """Return config.json: Qwen3-VL, or Qwen3 where there is no image part."""
    vocab_size, text_sizes, vision_sizes, deepstack, section, _, _ = SHAPES[name]
    token_id = {token: vocab_size - len(SPECIAL) + i for i, token in enumerate(SPECIAL)}  # the last ones
    common = {"vocab_size": vocab_size, "tie_word_embeddings": True}
    common |= {"eos_token_id": token_id["<|im_end|>"], "pad_token_id": token_id["<|endoftext|>"]}
    text = dict(zip(TEXT_NAMES.split(), text_sizes, strict=True)) | common
    text |= {"rms_norm_eps": 1e-6, "rope_theta": 5000000.0, "max_position_embeddings": MAX_POSITIONS}
    config = text | {"model_type": "qwen3"}
    if vision_sizes:
        rope = {"type": "default", "mrope_section": section, "mrope_interleaved": True}
        text |= {"model_type": "qwen3_vl_text", "rope_scaling": rope}
        vision = dict(zip(VISION_NAMES.split(), vision_sizes, strict=True))
        vision |= {"model_type": "qwen3_vl", "out_hidden_size": text["hidden_size"], "patch_size": 16}
        vision |= {"spatial_patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2}
        vision |= {"num_position_embeddings": 2304, "deepstack_visual_indexes": deepstack}
        config = common | {"model_type": "qwen3_vl", "text_config": text, "vision_config": vision}
        config |= {f"{mark.removesuffix('_pad')}_token_id": token_id[f"<|{mark}|>"] for mark in MARKS}
    if bits:
        quantization = {"group_size": GROUP_WEIGHTS, "bits": bits, "mode": "affine"}
        config |= {"quantization": quantization, "quantization_config": quantization}
    return config


def random_network(name: str, config: dict, seed: int, bits: int | None) -> nn.Module:
    """Return the network with random weights, the language part in ``bits`` bits if given.

    A matrix is drawn normal, with a deviation that falls with its inputs, as in a trained network; norms and
    biases keep their first values. One layer is quantised at a time, so that memory holds one full matrix.
    """
    mx.random.seed(seed)
    has_eyes, dtype = SHAPES[name][2] is not None, SHAPES[name][6]
    module, arguments = (qwen3_vl, "ModelConfig") if has_eyes else (qwen3, "ModelArgs")
    network = module.Model(getattr(module, arguments).from_dict(config))
    drawn = []
    for path, old in tree_flatten(network.parameters()):
        scale = WEIGHT_GAIN / math.prod(old.shape[1:]) ** 0.5
        drawn.append((path, (mx.random.normal(old.shape) * scale if old.ndim > 1 else old).astype(dtype)))
    network.update(tree_unflatten(drawn))
    del drawn
    part = network.language_model if has_eyes else network
    layers = [found for found in part.named_modules() if hasattr(found[1], "to_quantized")] if bits else []
    while layers:
        path, layer = layers.pop()  # taken off the list, or it would keep the full matrix alive
        quantized = layer.to_quantized(GROUP_WEIGHTS, bits)
        mx.eval(quantized.parameters())
        part.update_modules(tree_unflatten([(path, quantized)]))
    return network


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--model", choices=SHAPES, default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, choices=(2, 3, 4, 6, 8), help="quantise the language part")
    args = parser.parse_args()
    build_model(args.model, args.out_dir, args.seed, args.bits)


if __name__ == "__main__":
    main()
