"""Parameters and multiply-adds of a model, part by part."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Optional

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitpose_mm.models import TopdownViTPose
from vitpose_mm.models.layers import (
    Attention,
    FeedForward,
    PartiallySharedFeedForward,
    PatchEmbedding,
)
from vitpose_mm.report import format_table

from . import models

CONVENTION = (
    'Multiply-adds (half the FLOPs) of one forward of one image, without flip test. Counted are '
    'convolutions, linear layers and matrix products, with the products of attention (QK^T and AV) '
    'among them; not counted are biases, norms, softmax, activations and resampling. Figures are '
    'those of what is computed: the bilinear head convolves before it upsamples.'
)
PROJECTIONS, PRODUCTS = 'attention: qkv, proj', 'attention: QK^T, AV'
PARTS_BY_TYPE = {
    PatchEmbedding: 'patch embedding',
    Attention: PRODUCTS,
    FeedForward: 'feed-forward',
    PartiallySharedFeedForward: 'feed-forward',
    nn.LayerNorm: 'norms',
}
POSITIONS, REST_OF_BACKBONE, HEAD, OTHER = 'positions', 'rest of the backbone', 'head', 'other'
POSITION_NAMES = ('pos_embed', 'rel_pos_h', 'rel_pos_w')
PARTS = (
    'patch embedding',
    POSITIONS,
    PROJECTIONS,
    PRODUCTS,
    'feed-forward',
    'norms',
    REST_OF_BACKBONE,
    HEAD,
    OTHER,
)


class Cost(NamedTuple):
    """Number of parameters, and of multiply-adds for one image."""

    parameters: int
    macs: int


def count_complexity(cfg: Config, input_hw: tuple[int, int]) -> dict[str, Cost]:
    """Count a config's parameters and multiply-adds, by the convention ``CONVENTION``.

    Nothing is computed: the model is built and run on the meta device. There attention consists of
    its two products, where the fused kernels of other devices hide them from some counters.

    Args:
        cfg: Config with a top-down ``model``.
        input_hw: Height and width of the input, px.

    Returns:
        Cost of each part, in the order of ``PARTS``, without parts that have none.
    """
    with torch.device('meta'):
        model = models.build_model(cfg).eval()
        images = torch.zeros(1, 3, *input_hw)
    macs_by_module = count_macs(model, images)

    parts = dict.fromkeys(model.modules(), OTHER)
    assign_backbone_parts(model.backbone, REST_OF_BACKBONE, parts)
    parts.update(dict.fromkeys(model.head.modules(), HEAD))

    parameters, macs = Counter(), Counter()
    for module, part in parts.items():
        macs[part] += macs_by_module[module]
        for name, parameter in module.named_parameters(recurse=False):
            parameters[POSITIONS if name in POSITION_NAMES else part] += parameter.numel()
    costs = {part: Cost(parameters[part], macs[part]) for part in PARTS}
    return {part: cost for part, cost in costs.items() if any(cost)}


def add_up(costs: Iterable[Cost]) -> Cost:
    parameters, macs = zip(*costs)
    return Cost(sum(parameters), sum(macs))


def complexity_report(cfg: Config, input_hw: Optional[tuple[int, int]] = None) -> dict[str, object]:
    """Parts, backbone and total, with input size and convention, as plain numbers.

    Args:
        cfg: See :func:`count_complexity`.
        input_hw: Height and width of the input, px; by default the config's.
    """
    height, width = input_hw or models.input_hw(cfg)
    parts = count_complexity(cfg, (height, width))
    backbone = [cost for part, cost in parts.items() if part not in (HEAD, OTHER)]
    return dict(
        input=f'{height}x{width}',
        convention=CONVENTION,
        parts={part: cost._asdict() for part, cost in parts.items()},
        backbone=add_up(backbone)._asdict(),
        total=add_up(parts.values())._asdict(),
    )


def format_complexity(report: dict) -> str:
    """A table of :func:`complexity_report`."""
    rows = [('part', 'parameters, M', 'multiply-adds, G')]
    for part, cost in [
        *report['parts'].items(),
        ('backbone', report['backbone']),
        ('total', report['total']),
    ]:
        rows.append((part, f'{cost["parameters"] / 1e6:.3f}', f'{cost["macs"] / 1e9:.3f}'))
    table = format_table(rows)
    return f'Input {report["input"]}\n{table}\n{report["convention"]}'


def assign_backbone_parts(module: nn.Module, part: str, parts: dict[nn.Module, str]) -> None:
    """Write the part of a module and of all modules in it to ``parts``."""
    for kind, name in PARTS_BY_TYPE.items():
        if isinstance(module, kind):
            part = name
    if part == PRODUCTS and isinstance(module, nn.Linear):
        part = PROJECTIONS
    parts[module] = part
    for child in module.children():
        assign_backbone_parts(child, part, parts)


def count_macs(model: nn.Module, images: torch.Tensor) -> Counter:
    """Multiply-adds of each module's own operations, without those of the modules it calls."""
    counter = FlopCounterMode(display=False)
    macs: Counter = Counter()
    running: list[nn.Module] = []
    counted = 0

    def settle() -> None:
        nonlocal counted
        total = counter.get_total_flops()
        if running:
            macs[running[-1]] += (total - counted) // 2
        counted = total

    def enter(module: nn.Module, _: object) -> None:
        settle()
        running.append(module)

    def leave(*_: object) -> None:
        settle()
        running.pop()

    hooks = []
    for module in model.modules():
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad(), counter:
            if isinstance(model, TopdownViTPose):
                model(images, None)
            else:
                # mmpose's estimator calls the head's forward directly, where hooks do not fire
                model.head(model.extract_feat(images))
    finally:
        for hook in hooks:
            hook.remove()
    return macs
