"""Layer-wise learning-rate decay that asks the model for its depths."""

from collections.abc import Iterator

import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

PARAMWISE_OPTIONS = ('layer_decay_rate', 'custom_keys')
CUSTOM_KEY_OPTIONS = ('lr_mult', 'decay_mult')
WITHOUT_DECAY = (
    'bias',
    'pos_embed',
    'cls_token',
    'mask_token',
    'knowledge_tokens',
    'rel_pos_h',
    'rel_pos_w',
)
# Batch norms, the synchronised one included, and instance norms share `_NormBase`.
NORM_TYPES = (_NormBase, nn.LayerNorm, nn.GroupNorm)


def layer_scales(model: nn.Module, decay_rate: float) -> dict[nn.Parameter, float]:
    """Learning-rate scale of every parameter whose depth a submodule of the model states.

    A submodule states depths with a method ``layer_depths() -> {parameter: depth}``: 0 for what
    comes before the first block (patch and position embedding), ``i + 1`` for block ``i``, and the
    number of blocks + 1 for the final norm. The scale is ``decay_rate ** (greatest - depth)``: 1
    for the final norm, and for all that is not listed (the head). These are the numbers of
    ``get_num_layer_for_vit`` in the official repository
    (``mmcv_custom/layer_decay_optimizer_constructor.py``), which reads them from names.

    Parameters are recognised by identity: wrappers (``module.``, ``_orig_mod.``, checkpoint
    wrappers) rename parameters but keep them.

    Raises:
        ValueError: If no submodule has ``layer_depths``, or if one lists parameters that the model
            no longer has.
    """
    known = set(model.parameters())
    depths_of_modules = [
        module.layer_depths()
        for module in model.modules()
        if callable(getattr(module, 'layer_depths', None))
    ]
    if not depths_of_modules:
        raise ValueError(
            'Layer-wise decay needs a backbone with a method layer_depths() -> {parameter: depth}, '
            f'such as ViT; no submodule of {type(model).__name__} has one.'
        )
    scales = {}
    for depths in depths_of_modules:
        if not known.issuperset(depths):
            raise ValueError(
                'layer_depths() lists parameters that are not parameters of the model: a wrapper '
                'has replaced them, as FSDP does unless use_orig_params=True.'
            )
        greatest = max(depths.values())
        for parameter, depth in depths.items():
            scales[parameter] = decay_rate ** (greatest - depth)
    return scales


def has_weight_decay(owner: nn.Module, name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter decays by default: not biases, norms, 1-D parameters, embeddings.

    ``name`` is the parameter's name in ``owner``, the module that holds it.
    """
    if name in WITHOUT_DECAY or isinstance(owner, NORM_TYPES):
        return False
    # FSDP 1 shows shards of matrices as 1-D views, whose dimension says nothing.
    return parameter.ndim > 1 or getattr(parameter, '_fsdp_flattened', False)


def trainable_parameters(
    model: nn.Module,
) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield (full name, owner, name in owner, parameter) of each trainable parameter, once."""
    seen = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield (f'{prefix}.{name}' if prefix else name), module, name, parameter


def reject_unknown(where: str, options: dict, allowed: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ValueError(f'{where} got unknown options {unknown}; allowed are {list(allowed)}.')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDepthDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer with layer-wise learning-rate decay for a model whose backbone states its depths.

    ``paramwise_cfg`` takes

    - ``layer_decay_rate``: in (0, 1], 0.75 for ViTPose-B; see :func:`layer_scales`.
    - ``custom_keys``: ``{part of a name: dict(lr_mult=..., decay_mult=...)}``. Of the keys found in
      a parameter's full name the longest counts, as in mmengine. ``lr_mult`` multiplies the layer's
      scale. ``decay_mult`` multiplies the weight decay; where it is not given, biases, norms, other
      1-D parameters, ``pos_embed``, ``rel_pos_*`` and all tokens have no decay and the rest the
      full one.

    Parameters make one group per distinct (learning rate, weight decay), in order of first
    appearance, since AdamW's ``foreach`` and ``fused`` kernels work group by group. Frozen
    parameters are left out.

    Example:
        >>> optim_wrapper = dict(
        >>>     optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1),
        >>>     constructor='LayerDepthDecayOptimWrapperConstructor',
        >>>     paramwise_cfg=dict(layer_decay_rate=0.75))

    Raises:
        ValueError: For an unknown option, a ``layer_decay_rate`` outside (0, 1], an optimizer
            without ``lr``, and, when called, for a model that states no depths.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        if self.base_lr is None:
            raise ValueError(f'optimizer needs lr, the rate of the head, got {self.optimizer_cfg}.')
        reject_unknown('paramwise_cfg', self.paramwise_cfg, PARAMWISE_OPTIONS)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg.layer_decay_rate must be a number in (0, 1], got {rate!r}.'
            )
        for key, options in self.paramwise_cfg.get('custom_keys', {}).items():
            reject_unknown(f'paramwise_cfg.custom_keys[{key!r}]', options, CUSTOM_KEY_OPTIONS)

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Append the parameter groups of ``module`` to ``params``; called by the base class."""
        scales = layer_scales(module, self.paramwise_cfg['layer_decay_rate'])
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        longest_first = sorted(sorted(custom_keys), key=len, reverse=True)

        groups = {}
        for full_name, owner, name, parameter in trainable_parameters(module):
            options = next((custom_keys[key] for key in longest_first if key in full_name), {})
            settings = {'lr': self.base_lr * scales.get(parameter, 1.0) * options.get('lr_mult', 1)}
            if self.base_wd is not None:
                default = 1.0 if has_weight_decay(owner, name, parameter) else 0.0
                settings['weight_decay'] = self.base_wd * options.get('decay_mult', default)
            group = groups.setdefault(tuple(settings.values()), {'params': [], **settings})
            group['params'].append(parameter)
        params.extend(groups.values())
