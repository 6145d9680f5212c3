"""One seed seeds all that has none of its own; what is held out is the same for every seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recap.evaluation.identity import digest_of
from recap.experiment.config import LoadedConfig, load_config
from recap.experiment.experiment import Experiment
from recap.runs.launch import run_name
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import training_seed
from registry.replay.careless import Careless
from registry.replay.coreset import Coreset
from registry.replay.files import Jsonl
from registry.reweighting.rlw import RandomLossWeighting

Small = Callable[..., LoadedConfig]
ROOT = Path(__file__).resolve().parents[3]


def trained_on(experiment: Experiment) -> dict[str, list[str]]:
    return {domain.name: [digest_of(example) for example in domain.source.take(8)] for domain in experiment.domains}


def measured_by(experiment: Experiment) -> list[list[str]]:
    return [
        [digest_of(capability.source.example(place)) for place in range(8)] for capability in experiment.capabilities
    ]


def test_another_seed_is_other_data_and_the_same_measure(small: Small) -> None:
    held = "train.capabilities = [@arithmetic/Capability(), @grounding/Capability()]"
    first, second, again = (small(held, f"train.seed = {seed}").experiment for seed in (1, 2, 1))
    mine, others = trained_on(first), trained_on(second)
    assert trained_on(again) == mine
    for name, ids in mine.items():
        assert ids != others[name]
    assert measured_by(first) == measured_by(second)
    held_out = {digest for digests in measured_by(first) for digest in digests}
    assert not held_out & {digest for digests in mine.values() for digest in digests}


def test_a_seed_that_is_bound_is_kept(small: Small) -> None:
    bound = "replay.counting.seed = 5"
    sources = {
        seed: {domain.name: domain.source for domain in small(bound, f"train.seed = {seed}").experiment.domains}
        for seed in (1, 2)
    }
    assert [found["counting"].seed for found in sources.values()] == [5, 5]
    assert [found["arithmetic"].seed for found in sources.values()] == [1, 2]


def test_another_seed_is_another_order_of_a_table(small: Small, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"question": "{n}+1", "answer": "{n + 1}"}}\n' for n in range(30)))
    bound = ("arithmetic/Domain.source = @mine/replay.jsonl()", f"mine/replay.jsonl.path = '{file}'")
    orders = [trained_on(small(*bound, f"train.seed = {seed}").experiment)["arithmetic"] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_what_is_wrapped_takes_the_seed_too() -> None:
    coreset, careless = Coreset(Arithmetic(), 4), Careless(Arithmetic(seed=9))
    for source in (coreset, careless):
        source.take_seed(3)
    assert (coreset.seed, coreset.source.seed) == (training_seed(3), 3)
    assert (careless.seed, careless.source.seed) == (training_seed(3), 9)


def test_no_seed_of_a_run_trains_on_what_has_that_seed_and_is_held_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"question": "{n}", "answer": "{n}"}}\n' for n in range(1000)))
    for seed in range(5):
        trained, held_out = Jsonl(path=str(file), limit=50), Jsonl(path=str(file), limit=50, seed=seed)
        trained.take_seed(seed)
        shared = {example.id for example in trained.take(50)} & {example.id for example in held_out.take(50)}
        assert len(shared) < 10  # 2.5 by chance; P(10 or more) is 1e-4
    assert len({training_seed(seed) for seed in range(10_000)} | set(range(1000))) == 11_000


def test_a_policy_that_draws_takes_it(small: Small) -> None:
    policies = [
        small("train.reweighting = @reweighting.rlw", f"train.seed = {seed}").experiment.build_reweighting()
        for seed in (0, 4)
    ]
    assert policies[0].weights != policies[1].weights
    assert policies[1].weights == RandomLossWeighting(policies[1].objectives, seed=4).weights
    own = RandomLossWeighting(["a", "b"], seed=0)
    before = own.weights
    own.take_seed(4)
    assert own.weights == before


@pytest.mark.parametrize(("seed", "name"), [(0, "quickstart-recap"), (3, "quickstart-recap-seed-3")])
def test_the_name_of_a_run_has_its_seed(small: Small, seed: int, name: str) -> None:
    assert run_name(small(f"train.seed = {seed}").experiment, Path("quickstart.gin")) == name


def test_the_base_of_the_signal_study_is_made_from_its_seed() -> None:
    file = ROOT / "experiments/studies/signals_base.gin"
    domains = load_config(file, [], [ROOT / "experiments/studies/untagged.py"]).experiment.domains
    inner = [getattr(domain.source, "source", domain.source).seed for domain in domains]
    assert inner == [7] * 7
