"""Linear layers for inference on CPUs on which MKL is slow."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn


@lru_cache
def packing_pays() -> bool:
    """Whether this machine multiplies float32 matrices faster by oneDNN than by MKL.

    torch calls MKL, which does not use AVX-512 on CPUs of other makers than its own.
    """
    try:
        is_intel = 'GenuineIntel' in Path('/proc/cpuinfo').read_text()
    except OSError:
        return False
    return (
        not is_intel
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == 'AVX512'
        and hasattr(torch.ops.mkldnn, '_reorder_linear_weight')
        and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    )


class PackedLinear(nn.Linear):
    """A float32 ``nn.Linear`` for inference on the CPU, computed by oneDNN.

    It shares the parameters of the layer it is made of, and holds the weight a second time in
    oneDNN's layout, made anew when weights are loaded or cast; other changes to the parameters have
    no effect. Of another type or on another device it is torch's layer again. The operators are
    those that torch's compiler makes of linear layers.

    Args:
        linear: The layer.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._pack()

    def _pack(self) -> None:
        weight = self.weight.detach()
        suits = weight.dtype == torch.float32 and weight.device.type == 'cpu'
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight) if suits else None

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_packed': None}  # which can be neither copied nor pickled

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._pack()

    def _apply(self, *arguments: object, **options: object) -> 'PackedLinear':
        super()._apply(*arguments, **options)
        self._pack()
        return self

    def _load_from_state_dict(self, *arguments: object) -> None:
        super()._load_from_state_dict(*arguments)
        self._pack()

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., D), without gradients."""
        if self._packed is None:
            return super().forward(x)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, 'none', [], '')


def pack_linears(module: nn.Module) -> None:
    """Put a :class:`PackedLinear` in the place of each linear layer inside of a module."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            pack_linears(child)
