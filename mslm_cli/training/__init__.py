"""Training: models, losses, batches, the loop, checkpoints."""
