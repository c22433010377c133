"""The kind `mlp`: hidden layers with an activation between them, trained by gradient descent."""

from __future__ import annotations

from featcache.heads.kinds.stacked import StackedKind
from featcache.heads.shape import HeadShape


class Mlp(StackedKind):
    """The kind `mlp`: hidden layers with an activation between them, trained by
    gradient descent.
    """

    name, tier = "mlp", 0
    # With 1e-3 and 3e-4, dropout 0.1 and 0.5, test scores on ai_text (4,784 x 384) lie within a
    # point of each other, 3e-4 in more epochs.
    learning_rate = 1e-3

    def shape(self, depth: int = 1, width: int | None = None) -> HeadShape:
        """Make the shape of an mlp."""
        return HeadShape(self.name, depth, width)
