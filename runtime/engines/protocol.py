"""What every engine is."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """A graph loaded on a provider. Calls may come from several threads at once."""

    @property
    def provider(self) -> str:
        """What really executes the graph, such as `cpu` or `cuda`; shown in `/info` and in metrics."""
        ...

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Execute the graph once.

        Args:
            inputs: every input by name; the first dimension is the batch.
            outputs: the outputs that are wanted; what they do not need is not computed. All of them when None.

        Returns:
            The wanted outputs by name.

        Raises:
            EngineError: the provider failed.
        """
        ...
