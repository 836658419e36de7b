"""Forward of ViTPose-S: ours, mmpose's port, and ours with attention written out."""

import copy

import torch
from common import (
    OUR_CONFIG,
    OURS,
    PEER,
    Report,
    parse_arguments,
    peer_config,
    require_agreement,
)
from mmengine.config import Config
from torch import Tensor

from vitpose_mm.analysis import build_model
from vitpose_mm.checkpoints import read_weights, state_dict_for
from vitpose_mm.models.layers import Attention


class PlainAttention(Attention):
    """Attention as the formula has it, and the official code."""

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, heads, head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        query = query * query.shape[-1] ** -0.5
        weights = (query @ key.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).flatten(2))


def randomise(model: torch.nn.Module) -> None:
    """Weights that let differences show: no zero biases, and heatmaps of order 1."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.head.final_layer.weight.data.mul_(100)


def main() -> None:
    args = parse_arguments('Time the forward of ViTPose-S with the classic decoder.', rounds=30)
    torch.manual_seed(0)
    ours = build_model(Config.fromfile(OUR_CONFIG)).eval()
    randomise(ours)
    plain = copy.deepcopy(ours)
    for module in plain.modules():
        if type(module) is Attention:
            module.__class__ = PlainAttention
    peer = build_model(peer_config()).eval()
    peer.load_state_dict(state_dict_for(read_weights(ours.state_dict()), 'mmpose'))

    images = {size: torch.randn(size, 3, 256, 192) for size in (1, 16)}
    with torch.inference_mode():
        wanted = ours(images[16], None)
        agreement = {'heatmaps, standard deviation': f'{wanted.std():.2g}'}
        for name, model in ((PEER, peer), ('plain attention', plain)):
            agreement[f'heatmaps, {name}'] = require_agreement(
                wanted, model(images[16], None), 1e-4, f'heatmaps of {name}'
            )
        report = Report('Forward of ViTPose-S, classic decoder, 256x192, float32, eager', agreement)
        for size, batch in images.items():
            report.alternate(
                f'batch {size}',
                {
                    OURS: lambda b=batch: ours(b, None),
                    PEER: lambda b=batch: peer(b, None),
                    f'{OURS}, plain attention': lambda b=batch: plain(b, None),
                },
                args.rounds,
                per=size,
            )
    report.finish(args.out, flip_test='no', compiled='no')


if __name__ == '__main__':
    main()
