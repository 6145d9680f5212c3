"""How groups are drawn."""

from __future__ import annotations

from recap.report.style import marks


def test_no_two_groups_look_alike() -> None:
    groups = [str(number) for number in range(49)]
    looks = marks(groups)
    assert list(looks) == groups
    assert len(set(looks.values())) == 49
    assert len({look.colour for look in marks(groups[:7]).values()}) == 7
