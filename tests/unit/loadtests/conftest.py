"""What the load tests' tests share with the client's."""

from tests.unit.vernier.conftest import unused_port

__all__ = ["unused_port"]
