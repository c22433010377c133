"""What a head is: its kind, and the form of a multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("gelu", "relu", "silu")


@dataclass(frozen=True)
class HeadShape:
    """A head to try. kind: linear, mlp, logreg or custom. depth: hidden layers, 0 but for mlp. width: theirs, or None.

    layer_norm: hidden states are normalised before their activation.  residual: hidden layers from the second on add
    to the one before.
    """

    kind: str
    depth: int = 0
    width: int | None = None
    activation: str = "gelu"
    layer_norm: bool = False
    residual: bool = False

    def __str__(self) -> str:
        if self.depth == 0:
            return self.kind
        extras = [self.activation] if self.activation != "gelu" else []
        extras += ["norm"] * self.layer_norm + ["residual"] * self.residual
        return " ".join([f"mlp {self.depth}×{self.width}", *extras])
