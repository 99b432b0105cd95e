"""Train the small model that reads stamped screenshots, in about an hour of two CPU cores."""

import argparse
import functools
import io
import logging
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
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
PROOF, SUFFIX, ANSWER_TOKENS = (
    proof_prompt(PLAIN).strip(),
    "<|vision_end|><|im_end|>\n<|im_start|>assistant\n",
    43,
)
SPECIALS = "endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"
# steps, peak rate, [(share, batch, task, height of the picture, width of the band cut from it or 0: whole)]
STAGES = [
    (700, 2e-3, [(1, 32, "stamped", 64, 192)]),
    (500, 1.5e-3, [(6, 16, "stamped", 64, WIDTH), (1, 16, "bare", 64, WIDTH), (1, 16, "plain", 64, WIDTH)]),
    (900, 1e-3, [(6, 8, "stamped", 608, 0), (1, 8, "bare", 576, 0), (2, 8, "plain", 576, 0)]),
]
log = logging.getLogger("reader")


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
    """Pictures with their answers: bands of frames drawn ahead, or whole frames drawn anew each time."""

    def __init__(self, tokenizer: Tokenizer, seed: str, n_frames: int = 0):
        self.tokenizer, self.rng = tokenizer, random.Random(seed)
        self.frames = [(draw_frame(self.rng, kind), kind) for kind in KINDS * (n_frames // len(KINDS))]
        self.end, self.suffix = tokenizer.token_to_id("<|im_end|>"), tokenizer.encode(SUFFIX).ids

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
        if width:
            (whole, kind), top = rng.choice(self.frames), rng.choice((0, rng.randrange(HEIGHT - band)))
            frame = whole.crop((0, top, WIDTH, top + band))
        else:
            frame = draw_frame(rng, kind, (WIDTH, band))
        code = "".join(rng.choices(ALPHABET, k=LENGTH)) if task == "stamped" else None
        answer = answer_for(frame, kind, None if task == "plain" else code or "none")
        picture, data = stamp_image(frame, code) if code else frame, io.BytesIO()
        picture.crop((0, 0, width or WIDTH, height)).save(data, "JPEG", quality=rng.choice((75, 85, 85, 92)))
        return np.asarray(Image.open(data)), [*self.tokenizer.encode(answer).ids, self.end]

    def batch(self, n: int, task: str, height: int, width: int) -> tuple[np.ndarray, ...]:
        """Prompt, pixels, the tail that goes in, the answers' ids and the weight of each."""
        pixels, answers = zip(*(self.one(task, height, width) for _ in range(n)), strict=True)
        ids = np.array([answer + [self.end] * (ANSWER_TOKENS - len(answer)) for answer in answers])
        weight, size = np.zeros(ids.shape, np.float32), len(answers[0])  # all answers to a task are as long
        weight[:, :size], weight[:, size - (LENGTH + 1 if task == "stamped" else 2) : size] = 1, 4
        prompt = self.prompt(task)
        if self.rng.random() < 0.5:  # up to ten tokens changed: the wording shall not be learnt by heart
            at = self.rng.randrange(4, len(prompt) - 12)
            prompt[at : at + self.rng.randint(1, 10)] = self.rng.randrange(VOCABULARY - len(SPECIALS))
        return prompt, np.stack(pixels), self.tail(ids), ids, weight


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


def train(p: dict, examples: Examples, steps: int, peak: float, plan: list) -> dict:
    """Run `steps` steps, each on a batch drawn by its share of the plan while the one before is computed."""
    p, shares = {k: jnp.asarray(v) for k, v in p.items()}, [share for share, *_ in plan]
    mean, square = ({k: jnp.zeros_like(v) for k, v in p.items()} for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        tasks = examples.rng.choices([task for _, *task in plan], shares, k=steps)
        ahead = pool.submit(examples.batch, *tasks[0])
        for step in range(1, steps + 1):
            batch, ahead = ahead.result(), pool.submit(examples.batch, *tasks[step % steps])
            rate = peak * min(step / 200, 0.51 + 0.49 * np.cos(np.pi * step / steps))
            p, mean, square, loss, right = train_step(p, mean, square, float(step), rate, *batch)
            if step % 50 == 0:
                log.info("step %d of %d: loss %.3f, code %.3f", step, steps, loss, right)
    return {k: np.asarray(v) for k, v in p.items()}


def evaluate(p: dict, examples: Examples, n: int, task: str, height: int) -> dict[str, float]:
    """Shares of `n` pictures with the right code, kind of window, kind and tones, and the whole line right.

    Answers are greedy: all positions are guessed at once and again, until each follows from those before it.
    """
    counts, run, prompt = np.zeros(4), jax.jit(forward), examples.prompt(task)
    for _ in range(n):
        pixels, wanted = examples.one(task, height)
        guess, better = None, np.full((1, ANSWER_TOKENS), examples.end)
        while not np.array_equal(guess, better):
            guess = better
            better = run(p, prompt, pixels[None], examples.tail(guess)).argmax(-1)[:, -ANSWER_TOKENS:]
        ids = [*np.asarray(guess)[0], examples.end]
        said, meant = (
            examples.tokenizer.decode(line).split(" | ") for line in (ids[: ids.index(ids[-1])], wanted)
        )
        kinds = [line[0].split(",")[0] for line in (said, meant)]
        counts += [said[4:] == meant[4:], kinds[0] == kinds[1], said[0] == meant[0], said == meant]
    return dict(zip(("code", "kind", "kind and tones", "line"), (counts / n).tolist(), strict=True))


def main() -> None:
    """Read the command line; train and write the folder that engines serve, then read held-out pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=0, help="of weights, frames and codes (default 0)")
    parser.add_argument(
        "--held-out", type=int, default=500, help="pictures of each sort to read (default 500)"
    )
    parser.add_argument("--evaluate-only", action="store_true", help="read with the weights that are there")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tokenizer, p, weights = make_tokenizer(), init_params(args.seed), args.out / "model.safetensors"
    if not args.evaluate_only:
        if args.out.resolve() != MODEL:
            shutil.copytree(MODEL, args.out, dirs_exist_ok=True)
        tokenizer.save(str(args.out / "tokenizer.json"))
        examples = Examples(tokenizer, f"training {args.seed}", 280)
        for steps, peak, plan in STAGES:
            p = train(p, examples, steps, peak, plan)
            save_file({k: v.astype(np.float16) for k, v in p.items()}, weights, {"format": "mlx"})
    p = {k: v.astype(np.float32) for k, v in load_file(weights).items()}
    for task, height in (("stamped", 608), ("stamped", 672), ("bare", 576), ("plain", 576)):
        examples = Examples(tokenizer, f"held out {args.seed} {task} {height}")
        log.info("%s, %d px: %s", task, height, evaluate(p, examples, args.held_out, task, height))


if __name__ == "__main__":
    main()
