"""Engines: what executes a graph. ONNX Runtime and TensorRT are behind the protocol; nothing else here knows them."""

from runtime.engines.protocol import Arrays, Engine
from runtime.engines.select import PROVIDERS, Started, start_engine, start_engines

__all__ = ["PROVIDERS", "Arrays", "Engine", "Started", "start_engine", "start_engines"]
