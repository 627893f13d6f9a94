"""Learn an embedding: networks, losses, the step, and the commands that train, extract and export."""
