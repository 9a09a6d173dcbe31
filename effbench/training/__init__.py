"""Training: matcher, criterion, trainer, checkpoints and the shared warm start."""
