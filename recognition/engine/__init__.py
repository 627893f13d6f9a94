"""The training step: data parallel, checkpointed to the bit, restartable at any batch."""
