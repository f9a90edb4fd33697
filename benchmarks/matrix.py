"""How fast a device multiplies large matrices, which nothing that consists of products can beat."""

import time

import torch


def matrix_rate(device: str) -> float:
    """Return the FLOP/s of a large product: in bf16 on a GPU, in fp32 on a CPU."""
    on_gpu = device == "cuda"
    size, repeats = (8192, 20) if on_gpu else (1024, 5)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    synchronize(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        a @ b
    synchronize(device)
    return 2.0 * size**3 * repeats / (time.perf_counter() - begun)


def synchronize(device: str) -> None:
    """Wait for what the device was told to compute."""
    if device == "cuda":
        torch.cuda.synchronize()
