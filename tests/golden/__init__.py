"""Golden values: PyNST's losses and gradients by an independent PyTorch implementation."""
