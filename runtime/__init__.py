"""What a bundle is and how it runs: manifest, preprocessing, engines, encoder. Knows nothing of training or HTTP."""

import os

# ONNX Runtime's own builds send telemetry unless they are told not to before their first session. Nothing that is
# searched, nor what searches it, is anybody else's business; who wants to send it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
