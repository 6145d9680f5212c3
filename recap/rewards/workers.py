"""Verifiers at work: many completions at once, slow verifiers in processes of their own that can be killed.

A verifier that promises to be quick is called right here. One that cannot bound itself (`isolated`) is first asked for
its shortcut; what that leaves open goes to a worker process, which is killed at the time limit.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import pickle
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import gin
from pebble import ProcessExpired, ProcessPool

from recap.rewards.requests import Fault, ScoreRequest, ScoreResult, verifier_name
from recap.rewards.worker import Outcome, attempt, judge_packed, start_worker
from registry.verifiers.base import Judge, Verifier

logger = logging.getLogger(__name__)

# What workers share, loaded once: a worker that replaces a killed one is there in milliseconds.
_PRELOADED = ["recap.rewards.worker", "registry.verifiers.accuracy", "math_verify"]
_HOPELESS = 8  # failures of a verifier that has never worked before: a bug, not babble
_FIRST_FAULTS = 5  # kept of each call, for the log
_STALLED_S = 60.0  # beyond two time limits, without a sign from the workers: they are replaced
_RESTARTS = 3  # of all workers, one after the other without a result, before giving up


_Key = tuple[int, str, int]  # a verifier, a completion, an example


class _Work(NamedTuple):
    """Tasks under way in a pool."""

    pool: ProcessPool
    futures: list[Any]


@dataclass
class PendingScores:
    """Requests at which the workers are; `result` waits for them."""

    workers: RewardWorkers
    requests: list[ScoreRequest]
    keys: list[_Key]
    outcomes: dict[_Key, Outcome]  # so far
    isolated: dict[_Key, bytes]
    work: _Work | None

    def result(self) -> ScoreResult:
        """Rewards of all requests; raises what `RewardWorkers.score` raises."""
        return self.workers.finish(self)


@dataclass
class _Record:
    """What is known of a verifier since the workers were made."""

    verifier: Judge  # kept, so that no other object gets its id
    worked: bool = False
    failures: int = 0


@gin.configurable("rewards", module="recap")
class RewardWorkers:
    """Scores completions; time limits hold and faults are contained.

    A fault (the verifier raises, or its process dies) and a time-out score 0 and are counted. A verifier that fails
    whenever it is asked is an error all the same, since that is a bug in it or in the data, and so is a finite reward
    outside [0, 1]. Worker processes start when first needed; leaving the `with` block ends them, even those that hang.

    Args:
        timeout_s: for one completion in a worker process.
        workers: processes, per training process.
        memory_gb: that a worker may allocate before it gets a MemoryError (Linux); None: no limit.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(self, timeout_s: float = 5.0, workers: int = 2, memory_gb: float | None = 4.0) -> None:
        if not timeout_s > 0:
            raise ValueError(f"rewards.timeout_s must be greater than 0; it is {timeout_s}")
        if workers < 1:
            raise ValueError(f"rewards.workers must be at least 1; it is {workers}")
        if memory_gb is not None and not memory_gb > 0:
            raise ValueError(f"rewards.memory_gb must be greater than 0, or None; it is {memory_gb}")
        self.timeout_s = timeout_s
        self.workers = workers
        self.memory_gb = memory_gb
        self._pool: ProcessPool | None = None
        self._records: dict[int, _Record] = {}  # by id of the verifier
        self._warned: set[tuple[str, str]] = set()

    def __enter__(self) -> RewardWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes; another `score` would start new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def score(self, requests: Iterable[ScoreRequest]) -> ScoreResult:
        """Rewards of all requests; the same verifier, completion and example (object) are judged once.

        Raises:
            ValueError: a finite reward outside [0, 1], or a verifier or example that cannot be sent to a worker.
            RuntimeError: a verifier that has never worked and has failed too often; workers that cannot be started.
        """
        return self.begin(requests).result()

    def begin(self, requests: Iterable[ScoreRequest]) -> PendingScores:
        """Sets the workers to the requests; the caller does something else until it asks for the `result`."""
        requests = list(requests)
        keys = [(id(request.verifier), request.completion, id(request.example)) for request in requests]
        outcomes: dict[_Key, Outcome] = {}
        isolated: dict[_Key, bytes] = {}
        for key, request in zip(keys, requests, strict=True):
            if key in outcomes or key in isolated:
                continue
            outcome = _judge_here(request)
            if outcome is None:
                isolated[key] = _packed(request)
            else:
                outcomes[key] = outcome
        return PendingScores(self, requests, keys, outcomes, isolated, self._schedule(list(isolated.values())))

    def finish(self, pending: PendingScores) -> ScoreResult:
        """Waits for what `begin` set off; raises what `score` raises."""
        outcomes, requests = pending.outcomes, pending.requests
        outcomes.update(
            zip(pending.isolated, self._collect(list(pending.isolated.values()), pending.work), strict=True)
        )
        result = ScoreResult([outcomes[key].reward for key in pending.keys])
        for key, request in zip(pending.keys, requests, strict=True):
            self._count(outcomes[key], request, result)
        for key, request in dict(zip(pending.keys, requests, strict=True)).items():
            self._check(outcomes[key], request)
        return result

    def _schedule(self, tasks: Sequence[bytes]) -> _Work | None:
        """Sends tasks to the pool; None where the pool as a whole is lost."""
        if not tasks:
            return None
        try:
            pool = self._started_pool()
            return _Work(
                pool, [pool.schedule(judge_packed, args=(t, self.timeout_s), timeout=self.timeout_s) for t in tasks]
            )
        except RuntimeError:
            self.close()
            return None

    def _collect(self, tasks: Sequence[bytes], work: _Work | None) -> list[Outcome]:
        """The outcomes of all tasks; those that were lost with a pool are sent to another."""
        outcomes: list[Outcome] = []
        restarts = 0
        while len(outcomes) < len(tasks):
            known = len(outcomes)
            try:
                if work is None or work.pool is not self._pool:
                    work = self._schedule(tasks[known:])
                if work is None:
                    raise RuntimeError("the workers could not be started")
                for future in work.futures:
                    outcomes.append(self._outcome(future))
            except RuntimeError as error:  # the pool as a whole is lost
                self.close()
                restarts = 1 if len(outcomes) > known else restarts + 1
                if restarts > _RESTARTS:
                    raise RuntimeError(
                        "the worker processes of verifiers cannot be started or do not answer; what they printed may"
                        " say why. A script that trains must do so under `if __name__ == '__main__':`"
                    ) from error
            except BaseException:  # Ctrl-C: what is under way is not waited for
                self.close()
                raise
        return outcomes

    def _outcome(self, future: Any) -> Outcome:
        try:
            outcome: Outcome = future.result(timeout=2 * self.timeout_s + _STALLED_S)
            return outcome
        except ProcessExpired as error:
            return Outcome(0.0, f"its process ended with exit code {error.exitcode}")
        except FutureTimeoutError:
            if not future.done():
                raise RuntimeError("no sign from the workers") from None
            return Outcome(0.0, f"ran past {self.timeout_s:g} s", timed_out=True)

    def _started_pool(self) -> ProcessPool:
        if self._pool is None:
            method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            context.set_forkserver_preload(_PRELOADED)
            plugins = [
                module.__file__ for name, module in list(sys.modules.items()) if name.startswith("recap_plugin_")
            ]
            self._pool = ProcessPool(
                max_workers=self.workers,
                context=context,
                initializer=start_worker,
                initargs=(plugins, self.memory_gb),
            )
        return self._pool

    def _count(self, outcome: Outcome, request: ScoreRequest, result: ScoreResult) -> None:
        """Counts a fault or a time-out, and warns of the first of its kind."""
        if outcome.error is None:
            return
        name = verifier_name(request.verifier)
        if outcome.timed_out:
            result.timeouts[name] += 1
        else:
            result.faults[name] += 1
            if len(result.first_faults) < _FIRST_FAULTS:
                result.first_faults.append(Fault(name, outcome.error, request.example.id))
        kind = (name, outcome.error.partition(":")[0])
        if kind not in self._warned:
            self._warned.add(kind)
            text = "verifier %r scores 0 on example %r: %s (more of this kind are counted, not printed)"
            logger.warning(text, name, request.example.id, outcome.error)

    def _check(self, outcome: Outcome, request: ScoreRequest) -> None:
        """Raises for a reward outside its range, and for a verifier that has only ever failed."""
        reward = outcome.reward
        if reward is not None and math.isfinite(reward) and not 0 <= reward <= 1:
            raise ValueError(
                f"verifier {verifier_name(request.verifier)!r} gave {reward} for example {request.example.id!r}:"
                " a reward lies in [0, 1], or is None where the verifier does not apply"
            )
        if outcome.shortcut or outcome.timed_out:  # neither shows that the full check works, nor that it cannot
            return
        record = self._records.setdefault(id(request.verifier), _Record(request.verifier))
        record.worked = record.worked or outcome.error is None
        record.failures += outcome.error is not None
        if not record.worked and record.failures >= _HOPELESS:
            raise RuntimeError(
                f"verifier {verifier_name(request.verifier)!r} failed on all of the first {record.failures} completions"
                f" that it checked in full; the last, for example {request.example.id!r}: {outcome.error}"
            )


def _judge_here(request: ScoreRequest) -> Outcome | None:
    """The outcome, where it takes no worker process."""
    verifier, completion, example = request
    if isinstance(verifier, Verifier):
        settled = attempt(verifier.shortcut, completion, example)
        if settled is not None:
            return settled._replace(shortcut=settled.error is None)
        if verifier.isolated:
            return None
    return attempt(verifier, completion, example)


def _packed(request: ScoreRequest) -> bytes:
    """A request as bytes: what cannot be unpacked in a worker is then a fault like any other, not the end of it."""
    try:
        return pickle.dumps((request.verifier, request.completion, request.example.without_images()))
    except Exception as error:
        raise ValueError(
            f"verifier {verifier_name(request.verifier)!r} or example {request.example.id!r} cannot be sent to a worker"
            f" process: {error}. Define the verifier at the top of its file, and keep plain values in the metadata"
        ) from error
