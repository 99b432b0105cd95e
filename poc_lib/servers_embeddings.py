"""Send texts to an embedding model, once each: their vectors are kept in a file."""

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np

from poc_lib.errors import SetupProblem
from poc_lib.records import Api

BATCH = 64  # texts a request


async def send_embeddings(
    url: str,
    api: Api,
    model: str,
    texts: Sequence[str],
    api_key: str | None = None,
    timeout_s: float = 120.0,
    cache: Path | None = None,
) -> dict[str, np.ndarray]:
    """Ask a server for the vector of each distinct text, in requests of BATCH texts, one after another.

    Args:
        url: for 'openai' it ends in /v1 (POST /embeddings), for 'ollama' it is the root (POST /api/embed).
        model: the embedding model's name at that server.
        timeout_s: seconds without a byte, for each request.
        cache: an .npz file with vectors of earlier calls, read first and written last; it holds hashes of the
            texts, not the texts. Vectors of another model in it are dropped. None: nothing is kept.

    Returns:
        float32 vectors by text, all of one length.

    Raises:
        SetupProblem: the server cannot be reached, refuses, or answers with anything but one vector a text of
            equal length; or the cache cannot be read. Vectors that came before are kept in the cache.
    """
    distinct = list(dict.fromkeys(texts))
    kept = _read_cache(cache, model) if cache else {}
    missing = [text for text in distinct if _key(text) not in kept]
    endpoint = f"{url.rstrip('/')}/{'api/embed' if api == 'ollama' else 'embeddings'}"
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=timeout_s, headers=headers) as client:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                vectors = await _send_batch(client, endpoint, model, batch)
                width = len(next(iter(kept.values()), vectors[0]))
                _check_widths(vectors, width, endpoint)
                kept |= dict(zip(map(_key, batch), vectors, strict=True))
    finally:
        if cache and missing and kept:
            _write_cache(cache, model, kept)
    return {text: kept[_key(text)] for text in distinct}


async def _send_batch(
    client: httpx.AsyncClient, endpoint: str, model: str, batch: list[str]
) -> list[np.ndarray]:
    try:
        response = await client.post(endpoint, json={"model": model, "input": batch})
    except httpx.InvalidURL as error:
        raise SetupProblem(f"embeddings: '{endpoint}' is no URL: {error}; correct embeddings_url") from error
    except httpx.RequestError as error:
        raise SetupProblem(
            f"embeddings: no answer from {endpoint} ({type(error).__name__}): start the server or leave "
            "embeddings_url empty"
        ) from error
    if response.status_code != 200:
        said = " ".join(response.text.split())[:200]
        raise SetupProblem(
            f"embeddings: {endpoint} answered HTTP {response.status_code} for model '{model}' ({said}): "
            "correct embeddings_url, embeddings_api or embeddings_model"
        )
    try:
        vectors = _vectors(response.json())
    except (ValueError, TypeError, KeyError) as error:
        raise SetupProblem(
            f"embeddings: the answer of {endpoint} holds no vectors, expected those of an embeddings API: "
            "correct embeddings_url or embeddings_api"
        ) from error
    if len(vectors) != len(batch):
        raise SetupProblem(
            f"embeddings: {endpoint} gave {len(vectors)} vectors for {len(batch)} texts: use another server"
        )
    return vectors


def _vectors(answer: dict) -> list[np.ndarray]:
    """The vectors of an answer in the order of the texts: Ollama's ``embeddings``, or OpenAI's ``data``."""
    if "embeddings" in answer:
        rows = answer["embeddings"]
    else:
        rows = [one["embedding"] for one in sorted(answer["data"], key=lambda one: one["index"])]
    vectors = [np.asarray(row, dtype=np.float32) for row in rows]
    if not all(vector.ndim == 1 and vector.size and np.isfinite(vector).all() for vector in vectors):
        raise ValueError("a vector is empty, nested or not finite")
    return vectors


def _check_widths(vectors: list[np.ndarray], width: int, endpoint: str) -> None:
    other = next((len(vector) for vector in vectors if len(vector) != width), None)
    if other is not None:
        raise SetupProblem(
            f"embeddings: {endpoint} gave a vector of {other} numbers where others have {width}: the model "
            "behind this name has changed; delete the run's file of embeddings and start again"
        )


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read_cache(path: Path, model: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as held:
            if str(held["model"]) != model:
                return {}
            return dict(zip(held["keys"].tolist(), held["vectors"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SetupProblem(f"embeddings: {path} cannot be read: delete it, it will be made again") from error


def _write_cache(path: Path, model: str, kept: Mapping[str, np.ndarray]) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        np.savez(
            file, model=np.array(model), keys=np.array(list(kept)), vectors=np.stack(list(kept.values()))
        )
    os.replace(part, path)  # a killed run leaves the earlier file whole
