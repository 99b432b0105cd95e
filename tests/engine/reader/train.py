"""Train the small model that reads stamped screenshots: minutes on a GPU."""

import argparse
import functools
import io
import logging
import random
import shutil
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from draw import HEIGHT, KINDS, TONES, answer_for, draw_frame
from net import CELL, MODEL, VOCABULARY, WIDTH, forward, init_params
from PIL import Image
from safetensors.numpy import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
from poc_lib.client.stamp import ALPHABET, LENGTH, proof_prompt, stamp_image  # noqa: E402

PLAIN = (ROOT / "params" / "prompts" / "one_line.txt").read_text(encoding="utf-8").strip()
PROOF, SUFFIX = proof_prompt(PLAIN).strip(), "<|vision_end|><|im_end|>\n<|im_start|>assistant\n"
SPECIALS = "endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"
# steps, peak rate, [(share, batch, task, height of the picture, width of the band cut from it or 0: whole)]
STAGES = [
    (1200, 2e-3, [(1, 32, "stamped", 64, 192)]),
    (500, 1.5e-3, [(6, 16, "stamped", 64, WIDTH), (1, 16, "bare", 64, WIDTH), (1, 16, "plain", 64, WIDTH)]),
    (1500, 1e-3, [(6, 8, "stamped", 608, 0), (1, 8, "bare", 576, 0), (2, 8, "plain", 576, 0)]),
]
HELD_OUT = ("stamped", 608, 500), ("stamped", 672, 100), ("bare", 576, 200), ("plain", 576, 100)
ANSWER_TOKENS, log = 43, logging.getLogger("reader")


def make_tokenizer() -> Tokenizer:
    """Train a byte-level BPE on prompts and answers; capitals and digits are tokens of their own."""
    answers = [answer_for(Image.new("RGB", (WIDTH, HEIGHT)), kind, "none") for kind in KINDS]
    corpus = [PROOF, PLAIN, "user\nassistant\n", *answers * 20, *[f"above {' '.join(TONES)}"] * 40]
    capitals, letters = pre_tokenizers.Split(Regex("[A-Z0-9]"), "isolated"), pre_tokenizers.ByteLevel
    tokenizer, size = Tokenizer(models.BPE()), VOCABULARY - len(SPECIALS)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([capitals, letters(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([f"<|unused_{i}|>" for i in range(size - tokenizer.get_vocab_size())])
    tokenizer.add_special_tokens([f"<|{name}|>" for name in SPECIALS])
    return tokenizer


def read_prompt(tokenizer: Tokenizer, task: str) -> list[np.ndarray]:
    """Token ids before and after the image, as the chat template renders them: text first."""
    before = f"<|im_start|>user\n{PLAIN if task == 'plain' else PROOF}<|vision_start|>"
    return [np.array(tokenizer.encode(text).ids) for text in (before, SUFFIX)]


def draw_example(rng: random.Random, task: str, height: int, width: int = 0) -> tuple[np.ndarray, str]:
    """Pixels as a server decodes them, `height` px with the strip, and the answer."""
    band, kind = height - CELL * (task == "stamped"), rng.choice(KINDS)
    frame = draw_frame(rng, kind, (WIDTH, HEIGHT if width else band))
    if width:
        top = rng.choice((0, rng.randrange(HEIGHT - band)))
        frame = frame.crop((0, top, WIDTH, top + band))
    code = "".join(rng.choices(ALPHABET, k=LENGTH)) if task == "stamped" else None
    answer = answer_for(frame, kind, None if task == "plain" else code or "none")
    picture, data = stamp_image(frame, code) if code else frame, io.BytesIO()
    picture.crop((0, 0, width or WIDTH, height)).save(data, "JPEG", quality=rng.choice((75, 85, 85, 92)))
    return np.asarray(Image.open(data)), answer


def answer_ids(tokenizer: Tokenizer, answers: Iterable[str]) -> np.ndarray:
    """Token ids of answers, each filled up with ends to ANSWER_TOKENS."""
    end = tokenizer.token_to_id("<|im_end|>")
    ids = [tokenizer.encode(answer).ids for answer in answers]
    return np.array([row + [end] * (ANSWER_TOKENS - len(row)) for row in ids])


def make_batch(tokenizer: Tokenizer, seed: str, n: int, task: str, height: int, width: int) -> tuple:
    """What `forward` takes after the weights, and the weight of each id of the answers."""
    rng, (before, after) = random.Random(seed), read_prompt(tokenizer, task)
    pixels, answers = zip(*(draw_example(rng, task, height, width) for _ in range(n)), strict=True)
    ids, weight = answer_ids(tokenizer, answers), np.zeros((n, ANSWER_TOKENS), np.float32)
    size = len(tokenizer.encode(answers[0]).ids) + 1  # all answers to a task are as long
    weight[:, :size], weight[:, size - (LENGTH + 1 if task == "stamped" else 2) : size] = 1, 4
    if rng.random() < 0.5:  # up to ten tokens changed: the wording shall not be learnt by heart
        at = rng.randrange(4, len(before) - 12)
        before[at : at + rng.randint(1, 10)] = rng.randrange(VOCABULARY - len(SPECIALS))
    return before, np.stack(pixels), after, ids, weight


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def train_step(p, mean, square, step, rate, before, pixels, after, ids, weight):
    """Take one step of AdamW; also return the loss and the share of code characters read right."""

    def loss_of(p):
        logits = forward(p, before, pixels, after, ids)
        miss = -jnp.take_along_axis(jax.nn.log_softmax(logits), ids[..., None], axis=-1)[..., 0]
        right = ((logits.argmax(-1) == ids) * (weight > 1)).sum() / (weight > 1).sum()
        return (miss * weight).sum() / weight.sum(), right

    (loss, right), grads = jax.value_and_grad(loss_of, has_aux=True)(p)
    norm = jnp.sqrt(sum((g * g).sum() for g in grads.values()))
    for k, g in grads.items():
        g = g / jnp.maximum(1, norm)
        mean[k], square[k] = 0.9 * mean[k] + 0.1 * g, 0.98 * square[k] + 0.02 * g * g
        move = mean[k] / (jnp.sqrt(square[k]) + 1e-8) * jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)
        p[k] = p[k] - rate * (move + (0.02 * p[k] if p[k].ndim > 1 else 0))
    return p, mean, square, loss, right


def train(p: dict, tokenizer: Tokenizer, seed: str) -> dict:
    """Run all stages; batches depend on the seed alone and are drawn by other processes a few steps ahead."""
    p, ahead = {k: jnp.asarray(v) for k, v in p.items()}, deque()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        for stage, (steps, peak, plan) in enumerate(STAGES):
            mean, square = ({k: jnp.zeros_like(v) for k, v in p.items()} for _ in range(2))
            tasks = random.Random(f"{seed} {stage}").choices(plan, [share for share, *_ in plan], k=steps)
            for step in range(1, steps + 1):
                while len(ahead) < min(48, steps + 1 - step):
                    i = step - 1 + len(ahead)
                    ahead.append(workers.submit(make_batch, tokenizer, f"{seed} {stage} {i}", *tasks[i][1:]))
                rate = peak * min(step / 200, 0.51 + 0.49 * np.cos(np.pi * step / steps))
                batch = ahead.popleft().result()
                p, mean, square, loss, right = train_step(p, mean, square, float(step), rate, *batch)
                if step % 50 == 0:
                    log.info("stage %d, step %d of %d: loss %.3f, code %.3f", stage, step, steps, loss, right)
    return {k: np.asarray(v) for k, v in p.items()}


def evaluate(p: dict, tokenizer: Tokenizer, seed: str, n: int, task: str, height: int) -> list[float]:
    """Shares of `n` pictures with the right code, the right kind of window, and the whole line right.

    Answers are greedy: all positions are guessed at once and again, until each follows from those before it.
    One line alone does, from whichever guess it starts; from the wanted one it takes the fewest rounds.
    """
    rng, (before, after), counts = random.Random(seed), read_prompt(tokenizer, task), np.zeros(3)
    run, end = jax.jit(forward), tokenizer.token_to_id("<|im_end|>")
    for _ in range(n):
        pixels, wanted = draw_example(rng, task, height)
        guess, better = None, answer_ids(tokenizer, [wanted])
        while not np.array_equal(guess, better):
            guess = better
            better = np.asarray(run(p, before, pixels[None], after, guess).argmax(-1))
            better = np.where(np.cumsum(better == end, axis=1) > 0, end, better)
        said = tokenizer.decode(guess[0])
        codes, kinds = ([line.split(by) for line in (said, wanted)] for by in (" | code: ", ", "))
        counts += [codes[0][1:] == codes[1][1:], kinds[0][0] == kinds[1][0], said == wanted]
    return (counts / n).tolist()


def main() -> None:
    """Train and write the folder that engines serve, unless it is there; then read held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the model's folder; one that exists is read")
    parser.add_argument("--seed", type=int, default=0, help="of weights, frames and codes (0)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tokenizer, weights = make_tokenizer(), args.out / "model.safetensors"
    if not args.out.exists():
        p = train(init_params(args.seed), tokenizer, f"training {args.seed}")
        shutil.copytree(MODEL, args.out)
        tokenizer.save(str(args.out / "tokenizer.json"))
        save_file(p, weights, {"format": "mlx"})  # 32-bit: on a CPU MLX multiplies 16-bit floats slowly
    p = load_file(weights)
    for task, height, n in HELD_OUT:
        shares = evaluate(p, tokenizer, f"held out {args.seed} {task} {height}", n, task, height)
        log.info("%s, %d px, %d: code %.3f, kind %.3f, line %.3f", task, height, n, *shares)


if __name__ == "__main__":
    main()
