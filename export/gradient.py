"""A computation with a gradient inside as plain operations forwards, which an exporter can express.

ONNX knows no backward pass, but what a backward pass computes is products and sums like any other. Tracing the
computation while autograd runs writes those down one after the other; what is left has no autograd in it.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx


def unrolled(module: nn.Module, example: Sequence[Tensor]) -> nn.Module:
    """The same computation with its gradients written out.

    Every size is traced as a symbol, so what varies may go on varying. `torch.export` itself does not follow a gradient
    that is taken inside (torch 2.13: "We found a fake tensor in the exported program constant's list").

    Args:
        module: in evaluation mode; its weights become constants.
        example: its inputs, of sizes that are not special (2 and more, and no two alike by chance).
    """

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = module(*inputs)
        return found

    traced: nn.Module = make_fx(run, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
    return traced.eval()
