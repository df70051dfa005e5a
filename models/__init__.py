"""Feature layout, item vectors and user models: NumPy and PyTorch only."""
