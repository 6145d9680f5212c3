"""KL-only: nothing but a KL term holds the model near where it started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry import reweighting_policies
from registry.reweighting.base import SignalKind
from registry.reweighting.numerics import is_number, require
from registry.reweighting.uniform import Uniform


@reweighting_policies.register("kl_only")
class KLOnly(Uniform):
    """Weights every objective 1 and asks the trainer for a KL term to the reference model.

        λ_k = 1,   L = (1/K) Σ_k L_k + β · KL(model || reference)

    Source: the usual protection against forgetting in RLVR. The default β = 0.04 is that of GRPO in DeepSeekMath
    (arXiv 2402.03300, Section 4.2); RECAP's paper gives 0.01 for its LwF baseline, which is this policy with replay.
    Differs: nothing here touches the data. The KL-only baseline also drops replay, the KL term being its only
    protection: that is the mixture's business, so pair this policy with a mixture of reasoning domains alone.

    Args:
        objectives: names, or a mapping name -> signal kind.
        kl_coefficient: β > 0.

    Raises:
        ValueError: β is not a finite number > 0.
    """

    def __init__(self, objectives: Iterable[str] | Mapping[str, SignalKind], kl_coefficient: float = 0.04) -> None:
        super().__init__(objectives)
        rule = "be a finite number > 0 (without a KL term use uniform)"
        require(is_number(kl_coefficient) and kl_coefficient > 0, "kl_only", "kl_coefficient", rule, kl_coefficient)
        self.kl_coefficient = kl_coefficient
