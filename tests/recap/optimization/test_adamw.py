import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.optimization.adamw import AdamW


def rates(settings: AdamW, steps: int) -> list[float]:
    optimizer, schedule = settings.build([torch.nn.Parameter(torch.zeros(1))], steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_the_papers_schedule() -> None:
    found = rates(AdamW(learning_rate=1e-6), 100)
    assert found[0] == pytest.approx(1e-7)
    assert found[9] == found[10] == pytest.approx(1e-6)
    assert found[55] == pytest.approx(1e-6 * 45 / 90)
    assert found[99] == pytest.approx(1e-6 / 90)


def test_constant_after_warm_up() -> None:
    found = rates(AdamW(learning_rate=1e-4, schedule="constant", warmup_fraction=0.2), 10)
    assert found == pytest.approx([5e-5, *[1e-4] * 9])


@given(st.integers(1, 300), st.floats(0, 0.99))
def test_no_step_is_without_effect(steps: int, warmup: float) -> None:
    settings = AdamW(warmup_fraction=warmup)
    assert all(0 < settings.factor(step, steps) <= 1 for step in range(steps))


def test_the_settings_of_now_hold_after_a_state_was_loaded() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    before, schedule = AdamW(learning_rate=1e-2, schedule="constant").build([parameter], 10)
    for _ in range(4):
        parameter.grad = torch.ones(2)
        before.step()
        schedule.step()
    settings = AdamW(learning_rate=1e-4, betas=(0.5, 0.6), weight_decay=0.3, epsilon=1e-6, warmup_fraction=0.1)
    optimizer, _ = settings.build([parameter], 20)
    optimizer.load_state_dict(before.state_dict())
    schedule = settings.schedule_after(4, optimizer, 20)
    [group] = optimizer.param_groups
    assert (group["betas"], group["weight_decay"], group["eps"]) == ((0.5, 0.6), 0.3, 1e-6)
    found = []
    for _ in range(4, 20):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert found == [1e-4 * settings.factor(step, 20) for step in range(4, 20)]
    torch.testing.assert_close(optimizer.state[parameter]["step"], torch.tensor(20.0))


def test_frozen_parameters_are_left_out() -> None:
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    optimizer, _ = AdamW().build([frozen, torch.nn.Parameter(torch.zeros(2))], 10)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 2


@pytest.mark.parametrize("settings", [{"learning_rate": 0}, {"warmup_fraction": 1.0}, {"schedule": "cosine"}])
def test_settings_that_cannot_work(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"adamw.{next(iter(settings))}"):
        AdamW(**settings)  # type: ignore[arg-type]
