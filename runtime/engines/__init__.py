"""Engines: what executes a graph. ONNX Runtime is behind the protocol; nothing else here knows it."""

from runtime.engines.protocol import Arrays, Engine
from runtime.engines.select import start_engine

__all__ = ["Arrays", "Engine", "start_engine"]
