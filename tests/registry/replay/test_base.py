from hypothesis import given
from hypothesis import strategies as st

from registry.replay.base import shuffled_row


@given(length=st.integers(1, 300), epoch=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_every_epoch_visits_each_row_once(length, epoch, seed):
    rows = [shuffled_row(epoch * length + i, length, seed) for i in range(length)]
    assert sorted(rows) == list(range(length))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(shuffled_row(start + i, 50, seed) for i in range(50)) for start in (0, 50) for seed in (0, 1)}
    assert len(orders) == 4  # chance agreement of two random orders: 1 / 50!


def test_a_billion_rows_cost_nothing():
    assert 0 <= shuffled_row(10**12, 10**9, seed=3) < 10**9
