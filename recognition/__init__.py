"""Learn an embedding: networks, losses, the step, and the commands that train, extract and export."""
import runtime  # noqa: F401  (first of all: see runtime/loading.py)
