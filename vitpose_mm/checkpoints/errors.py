class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is not safe to read, or does not fit the model."""
