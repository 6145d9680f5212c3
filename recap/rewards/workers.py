"""Verifiers at work: many completions at once, slow verifiers in processes of their own that can be killed.

A verifier that promises to be `quick` is called right here. Any other is first asked for its shortcut; what that leaves open
goes to a worker process, which is killed at the time limit.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, get_args

import gin
from pebble import ProcessExpired, ProcessPool

from recap.rewards.requests import Fault, ScoreRequest, ScoreResult, verifier_name
from recap.rewards.tasks import Plan, Task, packed_judge, plan
from recap.rewards.worker import Outcome, judge_packed, start_worker
from registry.core import PLUGIN_PREFIX
from registry.verifiers.base import Judge

logger = logging.getLogger(__name__)

# What workers share, loaded once: a worker that replaces a killed one is there in milliseconds.
_PRELOADED = ["recap.rewards.worker", "registry.verifiers.accuracy", "math_verify"]
_HOPELESS = 8  # failures of a verifier that has never worked before: a bug, not babble
_FIRST_FAULTS = 5  # kept of each call, for the log
_STALLED_S = 60.0  # beyond two time limits, without a sign from the workers: they are replaced
_RESTARTS = 3  # of all workers, one after the other without a result, before giving up


Failures = Literal["zero", "left_out"]
"""What becomes of a completion that a verifier failed on: reward 0, or none, so that it is not in its group."""


class _Work(NamedTuple):
    """Tasks under way in a pool."""

    pool: ProcessPool
    futures: list[Any]


@dataclass
class PendingScores:
    """Requests at which the workers are; `result` waits for them."""

    workers: RewardWorkers
    requests: list[ScoreRequest]
    plan: Plan
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
        memory_gb: that a worker may allocate before it gets a MemoryError (Linux); files that it maps, libraries among them,
            do not count. None: no limit.
        failures: what a completion gets in training that a verifier failed on or ran past the limit with: 'zero', the reward
            0; or 'left_out', none from any verifier: it is not in its group, nothing is learnt from it or compared with it,
            and `verifier_left_out` counts it. Evaluation always counts 0.

    Raises:
        ValueError: a setting out of range.
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        workers: int = 2,
        memory_gb: float | None = 4.0,
        failures: Failures = "zero",
    ) -> None:
        _check_settings(timeout_s, workers, memory_gb, failures)
        self.failures: Failures = failures
        self.timeout_s = timeout_s
        self.workers = workers
        self.memory_gb = memory_gb
        self._pool: ProcessPool | None = None
        self._records: dict[int, _Record] = {}  # by id of the verifier
        self._known: dict[int, tuple[Judge, bytes | None]] = {}  # by id; packed where workers have to load it first
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
        planned = plan(requests)
        self._make_known(planned.judges)
        return PendingScores(self, requests, planned, self._schedule(planned.tasks))

    def finish(self, pending: PendingScores) -> ScoreResult:
        """Waits for what `begin` set off; raises what `score` raises."""
        outcomes, keys, requests = pending.plan.outcomes, pending.plan.keys, pending.requests
        for task, found in zip(pending.plan.tasks, self._collect(pending.plan.tasks, pending.work), strict=True):
            outcomes.update(
                dict.fromkeys(task.keys, found) if isinstance(found, Outcome) else zip(task.keys, found, strict=True)
            )
        errors = {index: str(error) for index, key in enumerate(keys) if (error := outcomes[key].error) is not None}
        result = ScoreResult([outcomes[key].reward for key in keys], errors)
        for key, request in zip(keys, requests, strict=True):
            self._count(outcomes[key], request, result)
        for key, request in dict(zip(keys, requests, strict=True)).items():
            self._check(outcomes[key], request)
        return result

    def _make_known(self, judges: Sequence[Judge]) -> None:
        """Workers that know none of these give way to some that loaded them before their time is taken."""
        new = {id(judge): (judge, packed_judge(judge)) for judge in judges if id(judge) not in self._known}
        self._known.update(new)
        if any(packed is not None for _, packed in new.values()):
            self.close()

    def _schedule(self, tasks: Sequence[Task]) -> _Work | None:
        """Sends tasks to the pool; None where the pool as a whole is lost."""
        if not tasks:
            return None
        try:
            pool = self._started_pool()
            limit = self.timeout_s
            futures = [pool.schedule(judge_packed, args=(task.packed, limit), timeout=limit) for task in tasks]
            return _Work(pool, futures)
        except RuntimeError:
            self.close()
            return None

    def _collect(self, tasks: Sequence[Task], work: _Work | None) -> list[Outcome | list[Outcome]]:
        """The outcomes of all tasks; those that were lost with a pool are sent to another."""
        outcomes: list[Outcome | list[Outcome]] = []
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

    def _outcome(self, future: Any) -> Outcome | list[Outcome]:
        try:
            outcome: Outcome | list[Outcome] = future.result(timeout=2 * self.timeout_s + _STALLED_S)
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
                module.__file__
                for name, module in list(sys.modules.items())
                if name.startswith(PLUGIN_PREFIX) and "." not in name  # modules of a package come with it
            ]
            self._pool = ProcessPool(
                max_workers=self.workers,
                context=context,
                initializer=start_worker,
                initargs=(plugins, self.memory_gb, [packed for _, packed in self._known.values() if packed]),
            )
        return self._pool

    def _count(self, outcome: Outcome, request: ScoreRequest, result: ScoreResult) -> None:
        """Counts a fault or a time-out, and warns of the first of its kind."""
        if outcome.error is None or outcome.fatal:
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
        if outcome.fatal:
            raise ValueError(
                f"verifier {verifier_name(request.verifier)!r}, example {request.example.id!r}: {outcome.error}"
            )
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


def _check_settings(timeout_s: float, workers: int, memory_gb: float | None, failures: str) -> None:
    if not timeout_s > 0:
        raise ValueError(f"rewards.timeout_s must be greater than 0; it is {timeout_s}")
    if workers < 1:
        raise ValueError(f"rewards.workers must be at least 1; it is {workers}")
    if memory_gb is not None and not memory_gb > 0:
        raise ValueError(f"rewards.memory_gb must be greater than 0, or None; it is {memory_gb}")
    if failures not in get_args(Failures):
        raise ValueError(f"rewards.failures must be 'zero' or 'left_out'; it is {failures!r}")
