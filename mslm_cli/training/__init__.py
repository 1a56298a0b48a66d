"""The training path: models, losses, batches, the loop, checkpoints."""
