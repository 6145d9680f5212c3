"""The prompts of the next step, drawn and encoded while this one trains.

To everybody else nothing has happened: outside `Prefetch.of` the sources stand, and count, as if the next step had not been
drawn, and `states` is what a checkpoint holds of them.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from recap.learning.intake import Intake, StepPrompts
from recap.learning.phases import Phases, timing
from recap.parallel.local_work import stop
from registry.backends.base import LoadedModel
from registry.backends.literal import LiteralText
from registry.replay.base import ReplaySource
from registry.replay.malformed import Malformed

LISTEN_S = 0.1  # between two looks at whether the run was asked to stop

State = TypeVar("State", bound=dict[str, Any])

Standing = tuple[int, Malformed]
"""What everybody may ask of a source between steps: its position, and what it has skipped."""


def reader_of(loaded: LoadedModel) -> LoadedModel:
    """The same model with a processor of its own: a fast tokenizer keeps its settings in itself, and serves one at a time."""
    reader = copy.copy(loaded)
    reader.processor = copy.deepcopy(loaded.processor)
    reader.literal = LiteralText(reader.processor, reader.forbidden_token_ids)
    return reader


class Prefetch:
    """An intake that is a step ahead.

    No part of a draw depends on what training has brought: a mixture is asked for domains and step, a source for positions.

    Args:
        last: whether there is no such step, counted from 0, where the sources stand.

    Attributes:
        passes_over: whether a step, from 1, must not be read.
        watch: is told the step, from 1, that is being read or trained on, should it kill the process.
    """

    def __init__(self, intake: Intake, last: Callable[[int], bool]) -> None:
        self.intake = intake
        self.last = last
        self.passes_over: Callable[[int], bool] = lambda _: False
        self.watch: Callable[[int], None] = lambda _: None
        self._fetch: _Fetch | None = None
        self._held: Mapping[str, dict[str, Any]] | None = None

    @property
    def _sources(self) -> dict[str, ReplaySource]:
        return {domain.name: domain.source for domain in self.intake.domains}

    def __call__(self, step: int) -> StepPrompts:
        """This process's share of a step, counted from 0; raises what the intake has raised ahead."""
        fetch = self._fetch
        if fetch is None or fetch.step != step:
            self.take_back()
            return self.intake(step)
        self._fetch = None
        for source, standing in zip(self._sources.values(), fetch.after, strict=True):
            source.position, source.malformed = standing
        if fetch.error is not None:
            raise fetch.error
        assert fetch.prompts is not None
        return fetch.prompts

    @contextmanager
    def of(self, step: int, phases: Phases) -> Iterator[None]:
        """While it lasts, that step is fetched; what is waited for at its end counts as rollout."""
        self.begin(step)
        try:
            yield
        finally:
            with timing(phases, "rollout"):
                self.settle()

    def begin(self, step: int) -> None:
        """Sets off for a step, counted from 0, if it will be taken; nobody else may ask the sources until `settle`."""
        if self.passes_over(step + 1) or self.last(step):
            return
        sources = self._sources.values()
        self._fetch = _Fetch(self.intake, step, self.states(), [_standing(source) for source in sources])
        for source in sources:
            counted = source.malformed.state_dict()
            source.malformed = Malformed()
            source.malformed.load_state_dict(counted)
        self.watch(step + 1)
        self._fetch.start(lambda: self.watch(step))

    def settle(self) -> None:
        """Waits, unless the run was asked to stop, and has the sources stand as before."""
        fetch = self._fetch
        if fetch is None or fetch.after:
            return
        while fetch.under_way and not stop.requested:
            fetch.thread.join(LISTEN_S)
        sources = self._sources.values()
        fetch.after = [_standing(source) for source in sources]
        for source, (position, malformed) in zip(sources, fetch.before, strict=True):
            source.position, source.malformed = position, malformed

    def states(self) -> Mapping[str, dict[str, Any]]:
        """Where each source stands, for whoever goes on from here; to be read alone, as several may hold it."""
        held = self._held if self._fetch is None else self._fetch.states
        if held is not None:
            return held
        skipped = {name: {"malformed": source.malformed.state_dict()} for name, source in self._sources.items()}
        states = {name: skipped[name] | source.state_dict() for name, source in self._sources.items()}
        return _apart(states)

    def take_back(self) -> None:
        """Forgets what was fetched."""
        if self._fetch is not None:
            self.load(self._fetch.states)

    def load(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Has the sources stand as they say, which is left as it is, and forgets what was fetched."""
        fetch, self._fetch = self._fetch, None
        if fetch is not None:
            self.intake.tried = fetch.tried
            if fetch.under_way:  # it was left, as the run stops: the sources are still used, and are not asked any more
                self._held = states
                return
        for name, source in self._sources.items():
            source.load_state_dict(_apart(states[name]))


def _apart(state: State) -> State:
    """The same, for a source goes on with what it gives and takes. Every step asks for it, a filter remembers every position
    that it kept, and `copy.deepcopy` would take two to five times as long.
    """
    copied: State = pickle.loads(pickle.dumps(state, pickle.HIGHEST_PROTOCOL))
    return copied


def _standing(source: ReplaySource) -> Standing:
    return source.position, source.malformed


class _Fetch:
    """The thread that reads a step.

    Attributes:
        states: of the sources before it.
        before, after: how each source stands.
        tried: what the intake knew before it.
        prompts, error: what has come of it.
    """

    def __init__(self, intake: Intake, step: int, states: Mapping[str, dict[str, Any]], before: list[Standing]) -> None:
        self.intake = intake
        self.step = step
        self.states = states
        self.before = before
        self.after: list[Standing] = []
        self.tried = copy.deepcopy(intake.tried)
        self.prompts: StepPrompts | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True, name=f"recap-intake-{step + 1}")

    @property
    def under_way(self) -> bool:
        return self.thread.is_alive()

    def start(self, then: Callable[[], None]) -> None:
        self.then = then
        self.thread.start()

    def _run(self) -> None:
        try:
            self.prompts = self.intake(self.step)
        except BaseException as error:
            self.error = error
        finally:
            self.then()
