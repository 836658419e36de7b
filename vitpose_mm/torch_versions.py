"""What differs between the versions of torch that are supported."""

import torch


def is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing."""
    if hasattr(torch.compiler, 'is_compiling'):  # torch >= 2.3
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()
