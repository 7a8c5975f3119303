"""What published laws expect of a model of this size on so many tokens: its loss, its slope, its learning rate.

    L = E + A/N^α + B/D^β    Hoffmann et al. 2203.15556, and its refit by Besiroglu et al. 2404.10102

N counts a tied embedding and no positions, D the tokens. The laws were fitted with another tokenizer on another text: levels
are off by 0.1 to 0.3 nats, so they say little; differences carry over much better.
"""

import math
from typing import NamedTuple


class Law(NamedTuple):
    name: str
    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        return float(self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta)

    def slope(self, tokens: float) -> float:
        """nats per e-fold of tokens, negative."""
        return float(-self.beta * self.b / tokens**self.beta)


HOFFMANN = Law("Hoffmann", 1.69, 406.4, 410.7, 0.34, 0.28)
BESIROGLU = Law("Besiroglu", 1.8172, 482.01, 2085.43, 0.3478, 0.3658)
LAWS = (HOFFMANN, BESIROGLU)


def loss(parameters: float, tokens: float) -> float:
    """Mean of both laws."""
    return sum(law.loss(parameters, tokens) for law in LAWS) / len(LAWS)


def slope(tokens: float) -> float:
    return sum(law.slope(tokens) for law in LAWS) / len(LAWS)


def rate_by_size(parameters_no_embedding: float) -> float:
    """Kaplan et al. 2001.08361, appendix D.6: lr = 0.003239 − 0.0001395·ln N; floored where it would reach zero."""
    return max(0.003239 - 0.0001395 * math.log(parameters_no_embedding), 1e-5)


def rate_by_compute(flops: float) -> float:
    """DeepSeek-AI 2401.02954: lr = 0.3118·C^−0.125, C the whole training's FLOPs."""
    return float(0.3118 * flops**-0.125)
