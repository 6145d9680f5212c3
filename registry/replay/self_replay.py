"""What the base model itself answered: completions that a verifier accepted, as targets of next-token prediction."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry import replay_sources
from registry.backends.base import Backend
from registry.example import Example, MalformedExample
from registry.replay.base import MissingData, ReplaySource, shuffled_row
from registry.replay.digests import digest, file_digest, settings_of, source_digest
from registry.replay.wrapper import Wrapper


@dataclass(frozen=True)
class Kept:
    """One completion that was accepted.

    Attributes:
        position: of its example in the source of prompts.
        id: of that example.
        completion: what the model answered.
        reward: what the verifier gave it.
    """

    position: int
    id: str
    completion: str
    reward: float


@replay_sources.register("self_replay")
class SelfReplay(Wrapper):
    """Replays what the base model answered to the prompts of another source, where a verifier accepted it.

    ```
    memory/Domain.source = @replay.self_replay()
    memory/Domain.objectives = {'next_token': @next_token_prediction()}
    memory/Domain.prompt = %prompts.ANSWER
    replay.self_replay.source = @replay.jsonl()
    replay.self_replay.model = @backends.smollm2()
    replay.self_replay.prompt = %prompts.ANSWER
    replay.self_replay.verifier = @verifiers.accuracy()
    ```

    The completions are made once, by `recap prepare FILE`, and kept in a file whose name holds a digest of the model, of the
    prompts and of these settings: whatever of them changes, the file is another one. A Hub model counts as its id and
    revision, a local one as its files. What a model is trained on is then what it could do before: no other targets are as
    likely under it (self-distillation: arXiv 2402.13669; on-policy data forget least: arXiv 2509.04259).

    Args:
        source: where the prompts come from.
        model: whose completions: a backend, that of `train.model`.
        verifier: what accepts a completion; None: all are kept that came to an end.
        prompt: the template around ``{question}``; that of the domain.
        examples: of the source, that are asked: positions 0 to `examples` - 1.
        samples: completions of each; the first that is accepted is kept.
        temperature: of the sampling, > 0.
        max_new_tokens: longer completions are cut off, and not kept.
        threshold: the reward, in (0, 1], from which a completion is accepted.
        folder: where the files are.
        seed: of the sampling, and of the order of each epoch. None: the order has one from that of the run, and the sampling,
            which is done once for all runs, 0.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        source: ReplaySource,
        model: Backend,
        verifier: Callable[[str, Example], float | None] | None = None,
        prompt: str = "{question}",
        examples: int = 1_000,
        samples: int = 4,
        temperature: float = 1.0,
        max_new_tokens: int = 512,
        threshold: float = 1.0,
        folder: str = "data/self_replay",
        seed: int | None = None,
    ) -> None:
        super().__init__([source], seed)
        self.sampling_seed = self.seed
        for name, value in (("examples", examples), ("samples", samples), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise ValueError(f"replay.self_replay.{name} must be at least 1; it is {value}")
        if not temperature > 0:
            raise ValueError(f"replay.self_replay.temperature must be > 0; it is {temperature}")
        if not 0 < threshold <= 1:
            raise ValueError(f"replay.self_replay.threshold must lie in (0, 1]; it is {threshold}")
        self.source, self.model, self.verifier, self.prompt = source, model, verifier, prompt
        self.examples, self.samples = examples, samples
        self.temperature, self.max_new_tokens, self.threshold = temperature, max_new_tokens, threshold
        self.folder = folder

    def take_seed(self, seed: int) -> None:
        ReplaySource.take_seed(self, seed)  # the prompts stay, as their completions are kept

    @property
    def length(self) -> int:
        return len(self._kept)

    def example(self, position: int) -> Example:
        """The prompt's example, its target the completion."""
        kept = self._kept[shuffled_row(position, len(self._kept), self.seed)]
        example = self.source.example(kept.position)
        if example.id != kept.id:
            raise MalformedExample(f"{self.file}: {kept.id!r} is now {example.id!r} in its source")
        return replace(example, target=kept.completion)

    def check(self) -> None:
        self.model.check()
        super().check()
        if self.at_hand and not self.file.is_file():
            raise MissingData(self._missing())

    @functools.cached_property
    def file(self) -> Path:
        """Where the completions are kept. Reads some of the prompts, and of a local model."""
        model = [settings_of(self.model), [file_digest(file) for file in self.model.weights_files()]]
        how = (
            self.prompt,
            self.examples,
            self.samples,
            self.temperature,
            self.max_new_tokens,
            self.threshold,
            self.sampling_seed,
        )
        asked = self.examples if self.source.length is None else min(self.examples, self.source.length)
        prompts = source_digest(self.source, asked)
        return Path(self.folder).expanduser() / f"{digest(model, prompts, how, settings_of(self.verifier))}.jsonl"

    def write(self, kept: Sequence[Kept], about: Mapping[str, Any]) -> None:
        """Keeps the completions, and beside them what is said about them.

        Raises:
            ValueError: there are none.
        """
        if not kept:
            raise ValueError(
                f"replay.self_replay: none of the completions of {self.examples} prompts x {self.samples} was accepted"
                f" ({dict(about)}): is the prompt one that this model answers in the form that the verifier reads?"
            )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(vars(row), ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
        self.file.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
        partial.replace(self.file)
        self.__dict__.pop("_kept", None)

    @functools.cached_property
    def _kept(self) -> list[Kept]:
        if not self.file.is_file():
            raise ValueError(self._missing())
        return [Kept(**json.loads(line)) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def _missing(self) -> str:
        return f"replay.self_replay: {self.file} is not there; make it with: recap prepare FILE (of the experiment)"
