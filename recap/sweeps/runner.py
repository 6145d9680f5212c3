"""Runs the children of a sweep, several at a time, each in a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from recap.runs.mlflow_store import GIVEN_RUN
from recap.sweeps.plan import Child, Plan

Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """A run that did not end well, and its last word."""

    child: Child
    reason: str

    def __str__(self) -> str:
        return f"failed: {self.child.name}: {self.reason}; see {self.child.log}"


class Runner:
    """Starts what is not finished, and goes on with what was begun.

    Args:
        plan: of the sweep.
        tags: of every run in MLflow, beside the experiment's own.
        jobs: runs at a time; each has a share of the processor's threads, unless OMP_NUM_THREADS says otherwise, and of the
            GPUs where there are several.
        allow_unused: as `recap train` takes it.
        say: takes a line when a run starts or ends.
    """

    def __init__(
        self, plan: Plan, tags: Mapping[str, str], jobs: int = 1, allow_unused: bool = False, say: Say = print
    ) -> None:
        self.plan, self.tags, self.jobs, self.say = plan, dict(tags), jobs, say
        self.allow_unused = allow_unused
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._places: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for job in range(jobs):
            self._places.put(surroundings(job, jobs, os.environ))

    def run(self, children: Sequence[Child]) -> list[Failure]:
        """Runs all of them; what fails does not end the others.

        Raises:
            KeyboardInterrupt: asked to stop; the runs under way have written a checkpoint.
        """
        with _ended_as_by_ctrl_c(), ThreadPoolExecutor(self.jobs, thread_name_prefix="recap-sweep") as pool:
            futures = [pool.submit(self._one, child) for child in children]
            try:
                failures = [future.result() for future in futures]
            except BaseException:
                self._stop()
                raise
        return [failure for failure in failures if failure is not None]

    def command(self, child: Child) -> list[str]:
        """What starts a run, or goes on with it."""
        words = [sys.executable, "-m", "recap", "train"]
        if child.begun:
            return [*words, "--resume", str(child.directory)]
        bindings = (
            *self.plan.bindings,
            *child.point.bindings,
            f"train.seed = {child.seed}",
            f"tracking.run_name = {child.name!r}",
            f"tracking.tags = {self.tags!r}",
        )
        words += [self.plan.file, "--output", str(child.directory)]
        words += [word for plugin in self.plan.plugins for word in ("--plugin", plugin)]
        words += ["--allow-unused"] if self.allow_unused else []
        return words + [word for binding in bindings for word in ("-b", binding)]

    def _one(self, child: Child) -> Failure | None:
        if self._stopped:
            return None
        place = self._places.get()
        try:
            self.say(f"{child.name}: {'goes on' if child.begun else 'starts'}, log in {child.log}")
            code = self._execute(child, place)
        finally:
            self._places.put(place)
        if code == 0 or self._stopped:
            self.say(f"{child.name}: {'ends' if code == 0 else 'stopped'}")
            return None
        failure = Failure(child, last_words(child.log.read_text(errors="replace"), code))
        self.say(f"{child.name}: failed: {failure.reason}")
        return failure

    def _execute(self, child: Child, place: Mapping[str, str]) -> int:
        child.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != GIVEN_RUN} | dict(place)
        with child.log.open("ab") as log:
            with self._lock:
                if self._stopped:
                    return 130
                # A session of its own: Ctrl-C in the terminal reaches this process, which passes it on once.
                process = subprocess.Popen(
                    self.command(child), stdout=log, stderr=log, env=environment, start_new_session=True
                )
                self._running.add(process)
            try:
                return process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()  # not SIGINT, which what a script starts with & ignores, and its children too


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """A scheduler's SIGTERM and a terminal that is closed stop the runs too: in sessions of their own, they would go on."""
    if threading.current_thread() is not threading.main_thread():  # Python allows no handlers there
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def surroundings(job: int, jobs: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment of the runs of one of `jobs` places: its share of the threads and of the GPUs."""
    found = {}
    if "OMP_NUM_THREADS" not in environment:
        found["OMP_NUM_THREADS"] = str(max(1, _cores() // jobs))
    devices = _devices(environment)
    if len(devices) > 1:
        own = devices[job::jobs] if jobs <= len(devices) else [devices[job % len(devices)]]
        found["CUDA_VISIBLE_DEVICES"] = own[0]  # one: a run of several is started by accelerate
    return found


def last_words(log: str, code: int) -> str:
    """The error that a log ends with, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it printed nothing"])[-1].removeprefix("error: ") + f" (exit code {code})"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices(environment: Mapping[str, str]) -> list[str]:
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [device for device in environment["CUDA_VISIBLE_DEVICES"].split(",") if device]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
