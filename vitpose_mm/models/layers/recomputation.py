"""Blocks that store less in the forward pass and compute it again in the backward pass."""

from functools import partial
from typing import Union

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

try:
    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
except ImportError:  # torch < 2.4
    create_selective_checkpoint_contexts = None

RECOMPUTATIONS = (False, True, 'selective')
aten = torch.ops.aten
# Nearly all the work of a block. Names that a version of torch lacks are passed over.
MATRIX_PRODUCTS = ('mm', 'addmm', 'bmm', 'baddbmm')
ATTENTIONS = (
    '_scaled_dot_product_flash_attention',
    '_scaled_dot_product_efficient_attention',
    '_scaled_dot_product_cudnn_attention',
    '_scaled_dot_product_flash_attention_for_cpu',
    '_scaled_dot_product_fused_attention_overrideable',
)
COSTLY = {
    getattr(aten, name).default for name in MATRIX_PRODUCTS + ATTENTIONS if hasattr(aten, name)
}


def require_recomputation(name: str, value: object) -> Union[bool, str]:
    """Check what was said of recomputation.

    Raises:
        ValueError: Not one of ``RECOMPUTATIONS``, or torch is too old for it.
    """
    if not isinstance(value, (bool, str)) or value not in RECOMPUTATIONS:
        raise ValueError(f'{name} must be one of {list(RECOMPUTATIONS)}, got {value!r}')
    if value == 'selective' and create_selective_checkpoint_contexts is None:
        raise ValueError(f"{name}='selective' needs torch 2.4, this is {torch.__version__}")
    return value


def run_block(block: nn.Module, recomputation: Union[bool, str], *inputs: object) -> Tensor:
    """Call a block, and compute again in its backward pass what it does not store.

    Args:
        block: Called with the inputs.
        recomputation: False: nothing; True: the whole block, of which the input is stored;
            'selective': all but the results of matrix products and attention, which are stored.
    """
    if not recomputation:
        return block(*inputs)
    options = {}
    if recomputation == 'selective':
        options['context_fn'] = partial(create_selective_checkpoint_contexts, _policy)
    return checkpoint(block, *inputs, use_reentrant=False, **options)


def _policy(_: object, operator: object, *inputs: object, **options: object) -> object:
    stored = operator in COSTLY
    return CheckpointPolicy.MUST_SAVE if stored else CheckpointPolicy.PREFER_RECOMPUTE
