"""Training step of ViTPose-S: ours against mmpose's port, time and memory."""

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

from vitpose_mm.analysis import TrainingStep, peak_memory
from vitpose_mm.analysis.training_step import COUNTED
from vitpose_mm.checkpoints import read_weights, state_dict_for

OPTIMIZER = dict(
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
CPU = torch.device('cpu')


def build_steps(batch_size: int, drop_path: bool) -> dict[str, TrainingStep]:
    """Both sides with the same weights, people and optimizer."""
    steps = {}
    for name, cfg in ((OURS, Config.fromfile(OUR_CONFIG)), (PEER, peer_config())):
        cfg = copy.deepcopy(cfg)
        # one group of parameters on both sides: their constructors do not make the same ones
        cfg.optim_wrapper = copy.deepcopy(OPTIMIZER)
        if not drop_path:
            cfg.model.backbone.drop_path_rate = 0.0
        steps[name] = TrainingStep(cfg, batch_size)
    weights = read_weights(steps[OURS].model.state_dict())
    steps[PEER].model.load_state_dict(state_dict_for(weights, 'mmpose'))
    return steps


def check(batch_size: int) -> dict[str, str]:
    steps = build_steps(batch_size, drop_path=False)
    losses = {name: step() for name, step in steps.items()}
    ours, theirs = (
        dict(steps[side].model.named_parameters())[f'backbone.patch_embed.{name}.weight']
        for side, name in ((OURS, 'proj'), (PEER, 'projection'))
    )
    return {
        'loss of the first step, relative': require_agreement(
            losses[OURS] / losses[PEER], torch.tensor(1.0), 1e-4, 'losses'
        ),
        # AdamW's first step moves each weight by the learning rate, by its gradient's sign
        'share of patch embedding weights that the first step moved alike': (
            f'{((ours - theirs).abs() < 1e-5).float().mean():.4%}'
        ),
    }


def main() -> None:
    args = parse_arguments(
        'Time training steps of ViTPose-S with the classic decoder, and measure their memory.',
        rounds=10,
        add_options=lambda parser: parser.add_argument(
            '--batch-size', type=int, default=16, help='people in a batch'
        ),
    )
    report = Report(
        'Training step of ViTPose-S, classic decoder, 256x192, float32: normalising, forward, '
        'loss, accuracy, backward, clipping, AdamW',
        check(min(args.batch_size, 4)),
    )
    steps = build_steps(args.batch_size, drop_path=True)
    report.alternate(f'batch {args.batch_size}', steps, args.rounds, warm_up=1, per=args.batch_size)
    for name, step in steps.items():
        before, peak = peak_memory(step, step.held(), CPU)
        report.figures[name] = {
            'peak memory, MB': peak / 1e6,
            'of which before the step (weights, buffers, optimizer, batch), MB': before / 1e6,
            'of which in the step (activations, gradients, targets), MB': (peak - before) / 1e6,
        }
    report.finish(args.out, batch_size=args.batch_size, memory_counts=COUNTED['cpu'])


if __name__ == '__main__':
    main()
