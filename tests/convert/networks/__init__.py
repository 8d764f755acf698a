"""PyTorch networks for tests; they import nothing but torch, so that any toolchain can make them."""
