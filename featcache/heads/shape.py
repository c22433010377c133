"""What a head looks like: its kind, depth, width, and what stands between its layers. Plain data,
no weights.

`network.py` says what each of these does to a row of features.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("gelu", "relu", "silu")


@dataclass(frozen=True)
class HeadShape:
    """A head to try. kind: linear, mlp or logreg. depth: hidden layers, 0 but for mlp. width:
    theirs, or None.

    activation: of ACTIVATIONS.  layer_norm, residual: see `Network`; the first residual sum is in
    the second hidden layer. Without hidden layers none of the three means anything.
    """

    kind: str
    depth: int = 0
    width: int | None = None
    activation: str = "gelu"
    layer_norm: bool = False
    residual: bool = False

    def __str__(self) -> str:
        """`logreg`, `linear`, `mlp 2×256`, and what differs from the defaults: `mlp 2×256 relu norm
        residual`.
        """
        if self.depth == 0:
            return self.kind
        parts = [f"mlp {self.depth}×{self.width}"]
        parts += [self.activation] if self.activation != "gelu" else []
        parts += ["norm"] if self.layer_norm else []
        parts += ["residual"] if self.residual else []
        return " ".join(parts)
