"""What a search varies: ``adamw.learning_rate = log(1e-6, 1e-3)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recap.sweeps.grid import values_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

HOW = (
    "write 'name = log(low, high)', 'name = uniform(low, high)', 'name = integer(low, high)' or"
    " 'name = choice(value, value, ...)', e.g. 'adamw.learning_rate = log(1e-6, 1e-3)'"
)
_FORM = re.compile(r"\s*([\w./]+)\s*=\s*(log|uniform|integer|choice)\s*\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class SearchAxis:
    """One binding, and the values it may have.

    Attributes:
        name: of the binding.
        kind: 'log' and 'uniform' are numbers, 'integer' whole ones, both ends included; 'choice' one of some values.
        values: both ends, or the choices, as a gin file writes them.
    """

    name: str
    kind: str
    values: tuple[str, ...]

    def binding(self, parameters: Mapping[str, object]) -> str:
        """The binding of a trial with these parameters."""
        value = parameters[self.name]
        return f"{self.name} = {value if self.kind == 'choice' else repr(value)}"

    def distribution(self) -> BaseDistribution:
        """As optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        low, high = self.values
        if self.kind == "integer":
            return IntDistribution(int(low), int(high))
        return FloatDistribution(float(low), float(high), log=self.kind == "log")


def search_axis(text: str) -> SearchAxis:
    """Reads an axis.

    >>> search_axis("adamw.learning_rate = log(1e-6, 1e-3)")
    SearchAxis(name='adamw.learning_rate', kind='log', values=('1e-6', '1e-3'))
    >>> search_axis("train.reweighting = choice(@reweighting.recap, @reweighting.uniform)").values
    ('@reweighting.recap', '@reweighting.uniform')

    Raises:
        ValueError: anything else; ends that are no numbers, or in the wrong order.
    """
    match = _FORM.fullmatch(text)
    values = tuple(values_of(match[3])) if match else ()
    if match is None or "" in values:
        raise ValueError(f"--search {text!r}: {HOW}")
    axis = SearchAxis(match[1], match[2], values)
    if axis.kind == "choice":
        return axis
    try:
        low, high = map(int if axis.kind == "integer" else float, values)
    except ValueError:
        raise ValueError(f"--search {text!r}: two numbers stand in the brackets; {HOW}") from None
    if not low < high or (axis.kind == "log" and low <= 0):
        above = " > 0" if axis.kind == "log" else ""
        raise ValueError(f"--search {text!r}: the lower end{above} comes first")
    return axis
