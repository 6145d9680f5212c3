"""Two conflicting losses of two variables, with their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Functions = Literal["printed", "cagrad"]

TASKS = ("L1", "L2")
STARTS: tuple[tuple[float, float], ...] = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
NOISE = 3.0
"""Standard deviation of what is added to the value of L1 at every step. A constant in x, it is in no gradient."""

SMALLEST = 5e-6


@dataclass(frozen=True)
class TwoTask:
    """The losses L1 = f1·g1 + f2·h1 and L2 = f1·g2 + f2·h2 of x = (x1, x2), without the noise.

        f1 = max(tanh(x2 / 2), 0)      g1 = log(max(|(-x1 - 7) / 2 - tanh(-x2)|, 5e-6)) + 6
        f2 = max(tanh(-x2 / 2), 0)     g2 = log(max(|(-x1 + 3) / 2 - tanh(-x2) + 2|, 5e-6)) + 6
        h1 = ((-x1 + 7)² + 0.1 (-x1 - 8)²) / 10 - 20
        h2 = ((-x1 - 7)² + 0.1 (-x1 - 8)²) / 10 - 20

    Source: RECAP (arXiv 2510.21978v2), the two-task example. In CAGrad's public code, where the example comes from, two
    terms differ from what is printed: g2 has + tanh(-x2), and h1 and h2 have 0.1 (-x2 - 8)². With the printed h nothing
    pulls x2 back: the losses fall for ever as x2 -> -∞, and no finite x is on the Pareto front, though x2 = -10 comes
    within 0.01 % of it. With the code's h the front is a curve near x2 = -8.

    max(·, 0) has slope 1 where its argument is 0, as `torch.clamp` has. The start (0, 0) is such a point, and with slope 0
    no method would ever leave it.

    Args:
        functions: "printed" as above, or "cagrad" as in that code.

    Raises:
        ValueError: other functions.
    """

    functions: Functions = "printed"

    def __post_init__(self) -> None:
        if self.functions not in get_args(Functions):
            raise ValueError(f"functions must be one of {', '.join(get_args(Functions))}, got {self.functions!r}")

    def losses(self, x: Array) -> Array:
        """x: [..., 2] -> (L1, L2): [..., 2]."""
        x1, x2 = x[..., 0], x[..., 1]
        f1, f2 = np.maximum(np.tanh(x2 / 2), 0), np.maximum(np.tanh(-x2 / 2), 0)
        g = [np.log(np.maximum(np.abs(inner), SMALLEST)) + 6 for inner in self._inner(x1, x2)]
        far = 0.1 * (-self._pulled(x1, x2) - 8) ** 2
        h = [((-x1 + peak) ** 2 + far) / 10 - 20 for peak in (7, -7)]
        return np.stack([f1 * g[k] + f2 * h[k] for k in (0, 1)], axis=-1)

    def gradients(self, x: Array) -> Array:
        """x: [..., 2] -> ∂L_k / ∂x_j: [..., 2 (k), 2 (j)]."""
        x1, x2 = x[..., 0], x[..., 1]
        tanh = np.tanh(x2 / 2)
        f1, f2 = np.maximum(tanh, 0), np.maximum(-tanh, 0)
        slope = (1 - tanh**2) / 2
        f1_x2, f2_x2 = np.where(tanh >= 0, slope, 0), np.where(tanh <= 0, -slope, 0)
        tanh_slope = 1 - np.tanh(x2) ** 2
        pull = 0.2 * (self._pulled(x1, x2) + 8) / 10
        far = 0.1 * (-self._pulled(x1, x2) - 8) ** 2
        rows = []
        for k, (inner, peak) in enumerate(zip(self._inner(x1, x2), (7, -7), strict=True)):
            size = np.abs(inner)
            g = np.log(np.maximum(size, SMALLEST)) + 6
            per_inner = np.where(size >= SMALLEST, np.sign(inner) / np.maximum(size, SMALLEST), 0)
            g_x1, g_x2 = -per_inner / 2, per_inner * tanh_slope * self._sign(k)
            h = ((-x1 + peak) ** 2 + far) / 10 - 20
            h_x1, h_x2 = 2 * (x1 - peak) / 10, np.zeros_like(x1)
            if self.functions == "printed":
                h_x1 = h_x1 + pull
            else:
                h_x2 = pull
            rows.append(np.stack([f1 * g_x1 + f2 * h_x1, f1_x2 * g + f1 * g_x2 + f2_x2 * h + f2 * h_x2], axis=-1))
        return np.stack(rows, axis=-2)

    def _inner(self, x1: Array, x2: Array) -> tuple[Array, Array]:
        """What the logarithms of g1 and g2 are taken of, with its sign."""
        return (-x1 - 7) / 2 + self._sign(0) * np.tanh(x2), (-x1 + 3) / 2 + self._sign(1) * np.tanh(x2) + 2

    def _sign(self, k: int) -> int:
        """Of tanh(x2) in g_k."""
        return -1 if k == 1 and self.functions == "cagrad" else 1

    def _pulled(self, x1: Array, x2: Array) -> Array:
        """The variable that the second term of h1 and h2 pulls to -8."""
        return x1 if self.functions == "printed" else x2
