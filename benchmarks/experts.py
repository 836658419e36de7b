"""A feed-forward network with six experts: each sample through its own, or all through all.

    python benchmarks/experts.py --threads 2 --out benchmarks/results/experts

Three sides on one batch of six data sets: ours, the official way (every expert on every sample,
masked and added up) and a network without experts; forward and backward, in the sizes of ViTPose's
backbones. Then a whole backbone whose expert has been merged against a plain one.
"""

import torch
from common import OURS, Report, parse_arguments
from mmpose.registry import MODELS
from torch import Tensor, nn

from vitpose_mm.architectures import ARCHITECTURES
from vitpose_mm.checkpoints import merge_expert
from vitpose_mm.models.layers import FeedForward, PartiallySharedFeedForward

NUM_EXPERTS, NUM_TOKENS = 6, 192
OFFICIAL, PLAIN = 'every expert on every sample', 'plain, no experts'


class EveryExpertOnEverySample(PartiallySharedFeedForward):
    """What the official ``vit_moe.py`` computes, and how."""

    def forward(self, x: Tensor, expert_ids: Tensor) -> Tensor:
        hidden = self.act(self.fc1(x))
        own = 0
        for number, expert in enumerate(self.experts):
            own = own + expert(hidden) * (expert_ids == number)[:, None, None]
        return torch.cat([self.fc2(hidden), own], -1)


def step(module: nn.Module, x: Tensor, *routing: object) -> Tensor:
    """Forward and backward, to weights and input."""
    module.zero_grad()
    x = x.detach().requires_grad_()
    output = module(x, *routing)
    output.backward(torch.ones_like(output))
    return output


def compare_training(report: Report, arch: str, batch_size: int, rounds: int) -> None:
    dim = ARCHITECTURES[arch]['embed_dim']
    torch.manual_seed(0)
    ours = PartiallySharedFeedForward(dim, 4 * dim, NUM_EXPERTS, dim // 4)
    official = EveryExpertOnEverySample(dim, 4 * dim, NUM_EXPERTS, dim // 4)
    official.load_state_dict(ours.state_dict())
    plain = FeedForward(dim, 4 * dim)
    x = torch.randn(batch_size, NUM_TOKENS, dim)
    ids = torch.arange(batch_size) * NUM_EXPERTS // batch_size  # sorted, as the backbone does once
    counts = torch.bincount(ids, minlength=NUM_EXPERTS).tolist()
    difference = (step(ours, x, counts) - step(official, x, ids)).abs().max().item()
    gradients = [
        (a.grad - b.grad).abs().max().item() / b.grad.abs().max().item()
        for a, b in zip(ours.parameters(), official.parameters())
    ]
    report.agreement[f'{arch}, batch {batch_size}'] = (
        f'outputs differ by {difference:.1e}, gradients by {max(gradients):.1e} of the largest'
    )
    report.alternate(
        f'training step of the FFN, {arch}, batch {batch_size}',
        {
            OURS: lambda: step(ours, x, counts),
            OFFICIAL: lambda: step(official, x, ids),
            PLAIN: lambda: step(plain, x),
        },
        rounds,
        per=batch_size,
    )


def compare_inference(report: Report, arch: str, batch_size: int, rounds: int) -> None:
    def build(**options: object) -> nn.Module:
        return MODELS.build(dict(type='ViT', arch=arch, img_size=(256, 192), **options)).eval()

    names = [f'data_set_{number}' for number in range(NUM_EXPERTS)]
    routed, merged, plain = build(experts=names), build(), build()
    with torch.no_grad():
        for parameter in routed.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    merged.load_state_dict(merge_expert(dict(routed.state_dict()), 1))
    images = torch.randn(batch_size, 3, 256, 192)
    ids = torch.ones(batch_size, dtype=torch.long)
    with torch.inference_mode():
        difference = (routed(images, ids)[0] - merged(images)[0]).abs().max().item()
        report.agreement[f'{arch}, merged and routed'] = f'features differ by {difference:.1e}'
        report.alternate(
            f'inference of the backbone, {arch}, batch {batch_size}',
            {
                f'{OURS}, merged': lambda: merged(images),
                'plain': lambda: plain(images),
                f'{OURS}, routed': lambda: routed(images, ids),
            },
            rounds,
            per=batch_size,
        )


def main() -> None:
    arguments = parse_arguments(
        __doc__.splitlines()[0],
        rounds=15,
        add_options=lambda parser: parser.add_argument('--archs', nargs='+', default=['base']),
    )
    report = Report('Six experts in the feed-forward network', {})
    for arch in arguments.archs:
        for batch_size in (12, 48):
            compare_training(report, arch, batch_size, arguments.rounds)
    compare_inference(report, arguments.archs[0], 4, arguments.rounds)
    report.finish(arguments.out, threads=arguments.threads, archs=arguments.archs)


if __name__ == '__main__':
    main()
