"""What runs in a worker: from a config to a trained model."""
