"""Train the small model that reads stamped screenshots: minutes on a GPU."""

import argparse
import functools
import io
import logging
import random
import shutil
import sys
from collections import deque
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


class Examples:
    """Pictures with their answers, drawn anew each time; `seed` decides them."""

    def __init__(self, tokenizer: Tokenizer, seed: str):
        self.tokenizer, self.rng, self.end = (
            tokenizer,
            random.Random(seed),
            tokenizer.token_to_id("<|im_end|>"),
        )
        self.suffix = tokenizer.encode(SUFFIX).ids

    def prompt(self, task: str) -> np.ndarray:
        """Token ids up to the image, as the chat template renders them: text first."""
        text = PLAIN if task == "plain" else PROOF
        return np.array(self.tokenizer.encode(f"<|im_start|>user\n{text}<|vision_start|>").ids)

    def tail(self, ids: np.ndarray) -> np.ndarray:
        """Token ids after the image, so that the last logits are those of `ids`."""
        return np.concatenate([np.tile(self.suffix, (len(ids), 1)), ids[:, :-1]], axis=1)

    def one(self, task: str, height: int, width: int = 0) -> tuple[np.ndarray, list[int]]:
        """Pixels as a server decodes them, `height` px with the strip, and the answer's ids."""
        rng, band, kind = self.rng, height - CELL * (task == "stamped"), self.rng.choice(KINDS)
        frame = draw_frame(rng, kind, (WIDTH, HEIGHT if width else band))
        if width:
            top = rng.choice((0, rng.randrange(HEIGHT - band)))
            frame = frame.crop((0, top, WIDTH, top + band))
        code = "".join(rng.choices(ALPHABET, k=LENGTH)) if task == "stamped" else None
        answer = answer_for(frame, kind, None if task == "plain" else code or "none")
        picture, data = stamp_image(frame, code) if code else frame, io.BytesIO()
        picture.crop((0, 0, width or WIDTH, height)).save(data, "JPEG", quality=rng.choice((75, 85, 85, 92)))
        return np.asarray(Image.open(data)), [*self.tokenizer.encode(answer).ids, self.end]


def make_batch(text: str, seed: str, n: int, task: str, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Prompt, pixels, the tail that goes in, answers' ids and the weight of each; `text`: the tokenizer."""
    examples = Examples(Tokenizer.from_str(text), seed)
    pixels, answers = zip(*(examples.one(task, height, width) for _ in range(n)), strict=True)
    ids = np.array([answer + [examples.end] * (ANSWER_TOKENS - len(answer)) for answer in answers])
    weight, size = np.zeros(ids.shape, np.float32), len(answers[0])  # all answers to a task are as long
    weight[:, :size], weight[:, size - (LENGTH + 1 if task == "stamped" else 2) : size] = 1, 4
    prompt = examples.prompt(task)
    if examples.rng.random() < 0.5:  # up to ten tokens changed: the wording shall not be learnt by heart
        at = examples.rng.randrange(4, len(prompt) - 12)
        prompt[at : at + examples.rng.randint(1, 10)] = examples.rng.randrange(VOCABULARY - len(SPECIALS))
    return prompt, np.stack(pixels), examples.tail(ids), ids, weight


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def train_step(p, mean, square, step, rate, prompt, pixels, tail, ids, weight):
    """Take one step of AdamW; also return the loss and the share of code characters read right."""

    def loss_of(p):
        logits = forward(p, prompt, pixels, tail)[:, -ANSWER_TOKENS:]
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


def train(p: dict, tokenizer: Tokenizer, seed: str, workers: ProcessPoolExecutor) -> dict:
    """Run all stages; batches depend on the seed alone and are drawn by the workers a few steps ahead."""
    p, text = {k: jnp.asarray(v) for k, v in p.items()}, tokenizer.to_str()
    for stage, (steps, peak, plan) in enumerate(STAGES):
        mean, square = ({k: jnp.zeros_like(v) for k, v in p.items()} for _ in range(2))
        tasks = random.Random(f"{seed} {stage}").choices(plan, [share for share, *_ in plan], k=steps)
        ahead = deque()
        for step in range(1, steps + 1):
            while len(ahead) < min(48, steps + 1 - step):
                i = step - 1 + len(ahead)
                ahead.append(workers.submit(make_batch, text, f"{seed} {stage} {i}", *tasks[i][1:]))
            rate = peak * min(step / 200, 0.51 + 0.49 * np.cos(np.pi * step / steps))
            batch = ahead.popleft().result()
            p, mean, square, loss, right = train_step(p, mean, square, float(step), rate, *batch)
            if step % 50 == 0:
                log.info("stage %d, step %d of %d: loss %.3f, code %.3f", stage, step, steps, loss, right)
    return {k: np.asarray(v) for k, v in p.items()}


def evaluate(p: dict, examples: Examples, n: int, task: str, height: int) -> dict[str, float]:
    """Shares of `n` pictures with the right code, kind of window, kind and tones, and the whole line right.

    Answers are greedy: all positions are guessed at once and again, until each follows from those before it.
    One line alone does, from whichever guess it starts; from the wanted one it takes the fewest rounds.
    """
    counts, run, prompt, end = np.zeros(4), jax.jit(forward), examples.prompt(task), examples.end
    for _ in range(n):
        pixels, wanted = examples.one(task, height)
        guess, better = None, np.array([wanted + [end] * (ANSWER_TOKENS - len(wanted))])
        while not np.array_equal(guess, better):
            guess = better
            logits = run(p, prompt, pixels[None], examples.tail(guess))
            better = np.asarray(logits[:, -ANSWER_TOKENS:].argmax(-1))
            better = np.where(np.cumsum(better == end, axis=1) > 0, end, better)
        said, meant = (examples.tokenizer.decode(ids).split(" | ") for ids in (guess[0], wanted))
        kinds = [line[0].split(",")[0] for line in (said, meant)]
        counts += [said[4:] == meant[4:], kinds[0] == kinds[1], said[0] == meant[0], said == meant]
    return dict(zip(("code", "kind", "kind and tones", "line"), (counts / n).tolist(), strict=True))


def main() -> None:
    """Read the command line; train and write the folder that engines serve, then read held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=0, help="of weights, frames and codes (0)")
    parser.add_argument("--held-out", type=int, default=500, help="pictures to read of each sort (500)")
    parser.add_argument("--evaluate-only", action="store_true", help="read with the weights that are there")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tokenizer, weights = make_tokenizer(), args.out / "model.safetensors"
    if not args.evaluate_only:
        if args.out.resolve() != MODEL:
            shutil.copytree(MODEL, args.out, dirs_exist_ok=True)
        tokenizer.save(str(args.out / "tokenizer.json"))
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
            p = train(init_params(args.seed), tokenizer, f"training {args.seed}", workers)
        save_file(p, weights, {"format": "mlx"})  # 32-bit: on a CPU MLX multiplies 16-bit floats slowly
    p = load_file(weights)
    for task, height in (("stamped", 608), ("stamped", 672), ("bare", 576), ("plain", 576)):
        examples = Examples(tokenizer, f"held out {args.seed} {task} {height}")
        log.info("%s, %d px: %s", task, height, evaluate(p, examples, args.held_out, task, height))


if __name__ == "__main__":
    main()
