"""What every verifier promises, as functions for tests; built-ins and plugins are held to the same list.

    from registry.testing import check_verifier

    def test_contract():
        check_verifier(MyVerifier(), Example(id="1", question="2 + 2?", answer="4"))

Each function raises AssertionError, with the completion and what to do about it; none needs pytest.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from registry.example import Example
from registry.sendable import sendable
from registry.testing.hostile import hostile_completions
from registry.testing.trial import Trial, trials
from registry.verifiers.base import UNDECIDED, GroupVerifier, Judge, Verifier, is_quick

SHOWN = 60


def check_verifier(
    verifier: Judge,
    *examples: Example,
    right: Callable[[Example], str] | None = lambda example: example.supervised_target,
    wrong: Sequence[str] = (),
    hostile_reward: float = 0.0,
    limit_s: float = 10.0,
) -> None:
    """Runs every property that a verifier owes.

    Args:
        verifier: an object or a function, as a gin file would name it.
        examples: some that it is meant for, as its data has them.
        right: the completion that must earn something of each example; None: nobody knows one. The default is what next-token
            prediction would imitate: the reference in its place.
        wrong: completions that must earn nothing.
        hostile_reward: the most that a completion of `registry.testing.hostile` may earn: 0 for whatever judges the answer,
            1 for a verifier of style, which may like any text.
        limit_s: for one completion; a verifier that is not quick may run past it, the engine stops it.
    """
    assert examples, "give check_verifier at least one example that the verifier is meant for"
    assert_can_be_sent(verifier, examples)
    for example in examples:
        texts = [] if right is None else [right(example)]
        assert_pays_for_what_is_right(verifier, example, texts)
        assert_pays_nothing(verifier, example, ["", " \n", *wrong])
        assert_changes_nothing(verifier, example, [*texts, *wrong])
        assert_shortcut_agrees(verifier, example, [*texts, *wrong, "babble", "<answer>babble</answer>"])
        assert_survives_hostile_completions(verifier, example, hostile_reward, limit_s)


def assert_can_be_sent(verifier: Judge, examples: Sequence[Example]) -> None:
    """Verifier and examples survive pickling: workers get copies, other processes of a run theirs."""
    try:
        pickle.loads(pickle.dumps((sendable(verifier), [example.without_images() for example in examples])))
    except Exception as error:
        raise AssertionError(
            f"{_name(verifier)} cannot be pickled, so it cannot be sent to a worker process: {error}. Define it at the top of"
            " its file, not inside a function; keep files, models and lambdas out of its attributes and the metadata"
        ) from error


def assert_pays_for_what_is_right(verifier: Judge, example: Example, texts: Sequence[str]) -> None:
    """The right completion earns more than 0, or None: a reward that nothing can earn teaches nothing."""
    for text in texts:
        reward = _reward(verifier, text, example)
        assert reward is None or reward > 0, (
            f"{_name(verifier)} pays {reward} for {_shown(text)}, which should be right for example {example.id!r}"
            f" (answer {_shown(example.answer)}): no completion could earn this reward. Is the answer looked for in the wrong"
            " place? If something else is right, pass it as `right`"
        )


def assert_pays_nothing(verifier: Judge, example: Example, texts: Sequence[str]) -> None:
    for text in texts:
        reward = _reward(verifier, text, example)
        assert not reward, f"{_name(verifier)} pays {reward} for {_shown(text)}: what is wrong or empty must earn 0"


def assert_changes_nothing(verifier: Judge, example: Example, texts: Sequence[str]) -> None:
    """Judged again, by itself or by a copy, a completion earns the same, and the example is as it was."""
    before = pickle.dumps(example.without_images())
    for text in texts:
        first = _reward(verifier, text, example)
        copy = pickle.loads(pickle.dumps(sendable(verifier)))
        for which, judge in (("again", verifier), ("by a copy that was pickled", copy)):
            second = _reward(judge, text, example)
            assert second == first, (
                f"{_name(verifier)} pays {first} for {_shown(text)}, and judged {which} {second}: a verifier is a function of"
                " completion and example alone, without memory, clock or unseeded chance"
            )
    assert pickle.dumps(example.without_images()) == before, (
        f"{_name(verifier)} changed example {example.id!r}: other completions are judged against it, too; copy first"
    )


def assert_shortcut_agrees(verifier: Judge, example: Example, texts: Sequence[str]) -> None:
    """Where the shortcut decides, the full check says the same."""
    if not isinstance(verifier, Verifier):
        return
    for text in texts:
        short = verifier.shortcut(text, example)
        if short is not UNDECIDED:
            full = _reward(verifier, text, example)
            assert short == full, (
                f"the shortcut of {_name(verifier)} says {short} to {_shown(text)}, its full check {full}: what a completion"
                " earns must not depend on where it is judged; return UNDECIDED where the shortcut is not sure"
            )


def assert_survives_hostile_completions(
    verifier: Judge, example: Example, most: float = 0.0, limit_s: float = 10.0
) -> None:
    """No completion of the hostile corpus crashes it, holds it up, or earns more than `most`.

    They are judged in a forked process, where the system has any, so that one that hangs or crashes can be told.
    """
    corpus = dict(hostile_completions(example))
    for what, trial in trials(verifier, example, corpus, limit_s):
        _check_trial(verifier, what, trial, most, limit_s)


def _check_trial(verifier: Judge, what: str, trial: Trial, most: float, limit_s: float) -> None:
    name = _name(verifier)
    if trial.timed_out:
        assert not trial.here, (
            f"{name} ran past {limit_s:g} s on {what}, in the training process, which it would hold for ever: bound the length"
            " of what it looks at and its patterns' repetitions, or leave out `quick` (in a shortcut: return UNDECIDED), so"
            " that it runs in a worker that can be stopped"
        )
        return
    assert trial.exit_code is None, (
        f"{name} ended its process (exit code {trial.exit_code}) on {what}: in the training process that ends the run"
        if is_quick(verifier)
        else f"{name} ended its worker (exit code {trial.exit_code}) on {what}: catch what makes it"
    )
    assert trial.error is None, (
        f"{name} raised {trial.error} on {what}: a completion is whatever a model babbles, so return 0; raise only for a"
        " mistake in the example"
    )
    assert_reward_valid(verifier, trial.reward, what)
    assert trial.reward is None or trial.reward <= most, (
        f"{name} pays {trial.reward} for {what}, more than {most:g}: a model would learn to write that. If any text may earn"
        " this reward, as one for style, pass hostile_reward=1"
    )


def assert_reward_valid(verifier: Judge, reward: Any, what: str) -> None:
    """A number in [0, 1], or None."""
    assert reward is None or (isinstance(reward, int | float) and math.isfinite(reward) and 0 <= reward <= 1), (
        f"{_name(verifier)} gave {reward!r} for {what}: a reward is a number in [0, 1], or None where the verifier does not"
        " apply to the example; scale it"
    )


def _reward(verifier: Judge, completion: str, example: Example) -> float | None:
    reward: Any = (
        verifier.judge_group([completion], example)[0]
        if isinstance(verifier, GroupVerifier)
        else verifier(completion, example)
    )
    assert reward is not UNDECIDED, (
        f"{_name(verifier)} gave UNDECIDED in its full check: that is for its shortcut alone"
    )
    assert_reward_valid(verifier, reward, _shown(completion))
    return None if reward is None else float(reward)


def _name(verifier: Judge) -> str:
    return str(getattr(verifier, "__name__", type(verifier).__name__))


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
