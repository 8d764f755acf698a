"""For all tests."""

import os

# Tests that load onnxruntime in this very process report nothing either; it is read when the library loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
