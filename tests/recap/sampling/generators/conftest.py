"""A server that speaks vLLM's protocol and samples with our own decoder, from the weights that it was sent last."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from recap.model.decoding import decode
from recap.model.scoring import Scorer, Scoring
from recap.sampling.generators import VLLMServer
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.chat import Chat
from registry.example import Example

MODEL = "served-model"
CPU = torch.device("cpu")
PRETRAINED = ("backends.tiny_qwen2_5_vl.weights = None", "rollout.group_size = 4", "rollout.max_new_tokens = 48")
# What vLLM would otherwise take from the checkpoint's generation_config.
SAMPLING = {"top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0}


class Refused(Exception):
    """What vLLM answers with status 400."""


class FakeVLLM:
    """The server; set the attributes to make it misbehave.

    Attributes:
        posts: path and body of every request that was posted.
        broken: path -> status and body to answer with instead.
        answers: seed of a request -> the token ids that it gets, one list per completion; others are sampled.
        change: what is done to every answer before it is sent.
        logprobs_mode: as `vllm serve --logprobs-mode`.
        lost: names that it is sent and does not take over.
        noise: standard deviation of what it adds to the log-probs of a prompt, as another precision would.
    """

    def __init__(self) -> None:
        self.loaded = TinyQwen2_5_VL().load()
        self.loaded.model.eval()
        # As vLLM on CPUs, which packs a copy of an output head: the embedding alone does not bring it up to date.
        self.loaded.model.lm_head.weight = torch.nn.Parameter(self.loaded.model.lm_head.weight.detach().clone())
        with torch.no_grad():
            for parameter in self.loaded.model.parameters():  # other weights than a trainer starts with
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        self.scorer = Scorer(
            self.loaded.model, self.loaded.forbidden_token_ids, Scoring(shared_prefix=False, chunk=None)
        )
        self.posts: list[tuple[str, Any]] = []
        self.broken: dict[str, tuple[int, bytes]] = {}
        self.answers: dict[int, list[list[int]]] = {}
        self.change: Callable[[str, Any], Any] = lambda path, answer: answer
        self.logprobs_mode = "processed_logprobs"
        self.lost: set[str] = set()
        self.noise = 0.0
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def posted(self, path: str) -> list[Any]:
        return [body for asked, body in self.posts if asked == path]

    def answer(self, path: str, body: Any) -> Any:
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": MODEL}]}
        if path == "/server_info":
            return {"vllm_config": {"model_config": {"logprobs_mode": self.logprobs_mode}}}
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            return self.load(Path(body["kwargs"]["weights_path"]))
        if path == "/reset_prefix_cache":
            return {"success": True}
        if path == "/reset_encoder_cache":
            return None
        if path == "/v1/completions":
            ids = torch.tensor([body["prompt"]])
            positions = torch.arange(ids.shape[1])[None]
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            encoded = EncodedPrompts(inputs, positions, positions[:, -1] + 1, [None])
            choices = self.complete(encoded, body, chat=False)
            if "prompt_logprobs" in body:
                choices[0]["prompt_logprobs"] = self.score(encoded)
            return {"choices": choices}
        if path == "/v1/chat/completions":
            chat, images = asked_in(body)
            encoded = self.loaded.encode([chat], [Example("x", "", "", images)], CPU)
            choices = self.complete(encoded, body, chat=True)
            scored = {"prompt_logprobs": self.score(encoded)} if "prompt_logprobs" in body else {}
            return {"prompt_token_ids": encoded.inputs["input_ids"][0].tolist(), "choices": choices, **scored}
        raise Refused(f"no such path: {path}")

    def load(self, folder: Path) -> dict[str, Any]:
        """As vLLM: every safetensors file of the folder; the output head only where it comes under its own name."""
        found = {
            name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()
        }
        assert found.keys() <= {name for name, _ in self.loaded.model.named_parameters()}
        kept = {name: tensor for name, tensor in found.items() if name not in self.lost}
        self.loaded.model.load_state_dict(kept, strict=False)
        return {"results": [None]}

    @torch.no_grad()
    def score(self, encoded: EncodedPrompts) -> list[Any]:
        """As vLLM: a table of log-probs per token of the prompt, none for the first; at temperature 1, without bias."""
        model, ids = self.loaded.model, encoded.inputs["input_ids"][0]
        logits = model(**encoded.inputs, position_ids=encoded.position_ids).logits[0, :-1]
        values = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        values += self.noise * torch.randn(values.shape)
        found = zip(ids[1:].tolist(), values.tolist(), strict=True)
        return [None, *({str(token): {"logprob": value, "rank": 1, "decoded_token": ""}} for token, value in found)]

    @torch.no_grad()
    def complete(self, encoded: EncodedPrompts, body: dict[str, Any], *, chat: bool) -> list[dict[str, Any]]:
        n, temperature, length = body["n"], body["temperature"], body["max_tokens"]
        if body["model"] != MODEL:
            raise Refused(f"The model `{body['model']}` does not exist.")
        if missing := [name for name, value in SAMPLING.items() if body.get(name) != value]:
            raise Refused(f"the checkpoint's generation_config decides {missing}")
        if temperature == 0 and n > 1:
            raise Refused("n must be 1 when using greedy sampling")
        if body["seed"] in self.answers:
            ids, mask = padded(self.answers[body["seed"]], self.loaded.pad_token_id)
        else:
            uniforms = torch.rand(n, length, generator=torch.Generator().manual_seed(body["seed"]))
            drawn = uniforms if temperature > 0 else None
            ids, mask, _ = decode(self.loaded, encoded, n, length, temperature, drawn)
        scores = self.scorer(encoded, ids, mask, temperature=temperature or 1.0)
        choices = []
        for row, log_probs, real in zip(ids, scores.log_probs, mask.bool(), strict=True):
            tokens = row[real].tolist()
            values = [max(value, -9999.0) for value in log_probs[real].tolist()]  # as vLLM does
            ended = tokens[-1] in body.get("stop_token_ids", ())
            choice = {"token_ids": tokens, "finish_reason": "stop" if ended else "length"}
            if chat:
                choice["logprobs"] = {"content": [{"token": "", "logprob": value} for value in values]}
            else:
                choice["logprobs"] = {"tokens": [""] * len(tokens), "token_logprobs": values}
                choice["prompt_token_ids"] = encoded.inputs["input_ids"][0].tolist()
            choices.append(choice)
        return choices


def handler_of(fake: FakeVLLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: Any) -> None:
            path = self.path.partition("?")[0]
            status, content = 200, b""
            with fake.lock:
                if self.command == "POST":
                    fake.posts.append((path, body))
                if path in fake.broken:
                    status, content = fake.broken[path]
                else:
                    try:
                        answer = fake.change(path, fake.answer(path, body))
                        content = b"" if answer is None else json.dumps(answer).encode()
                    except Refused as error:
                        status, content = 400, json.dumps({"error": {"message": str(error)}}).encode()
            with contextlib.suppress(ConnectionError):  # who asked may have given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler


def asked_in(body: Any) -> tuple[Chat, tuple[Image.Image, ...]]:
    """What the messages of a request ask, pictures marked where they stand."""
    texts = ["".join(part.get("text", "<image>") for part in message["content"]) for message in body["messages"]]
    pictures = [part for message in body["messages"] for part in message["content"] if part["type"] == "image_url"]
    system = texts.pop(0) if body["messages"][0]["role"] == "system" else None
    *before, asked = texts
    shots = tuple(zip(before[::2], before[1::2], strict=True))
    arguments = body.get("chat_template_kwargs", {})
    return Chat(asked, system, shots, arguments), tuple(picture_of(part["image_url"]["url"]) for part in pictures)


def picture_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


@pytest.fixture
def server() -> Iterator[FakeVLLM]:
    fake = FakeVLLM()
    yield fake
    fake.http.shutdown()
    fake.http.server_close()


@pytest.fixture
def generator(server: FakeVLLM, tmp_path: Path) -> VLLMServer:
    made = VLLMServer(url=server.url, weights_directory=str(tmp_path / "weights"))
    made.connect()
    return made


@pytest.fixture
def through_server(server: FakeVLLM, tmp_path: Path) -> list[str]:
    """Bindings with which an experiment of the pretrained tiny model, whose rewards differ, samples through the server."""
    return [
        *PRETRAINED,
        "rollout.generator = @vllm_server()",
        f"vllm_server.url = '{server.url}'",
        f"vllm_server.weights_directory = '{tmp_path / 'weights'}'",
    ]


@pytest.fixture
def pretrained() -> list[str]:
    """The same experiment with our own decoder."""
    return list(PRETRAINED)


@pytest.fixture
def trained() -> LoadedModel:
    """The model in training."""
    return TinyQwen2_5_VL().load()
