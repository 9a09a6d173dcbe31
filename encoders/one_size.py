"""What a deformable encoder for images of one size keeps of them besides its tables (`layers.TableLinear`)."""

from __future__ import annotations

from torch import Tensor, nn

from effbench.encoders.deformable import Shapes
from effbench.encoders.stack import Place


class OneSize(nn.Module):
    """The shapes of the maps that an encoder was made for, and where their tokens stand."""

    def __init__(self, shapes: Shapes, reference: Tensor) -> None:
        super().__init__()
        self.shapes = shapes
        self.reference: Tensor
        self.register_buffer("reference", reference, persistent=False)

    def place(self, shapes: Shapes) -> Place:
        """Raises ValueError for maps of other shapes."""
        if list(shapes) != list(self.shapes):
            raise ValueError(
                f"maps of {list(shapes)} in an encoder made for {list(self.shapes)} (H, W); expected those, or the "
                "encoder that `at_size` was called on"
            )
        return Place(None, self.reference, self.shapes)
