import copy

import pytest
import torch
from mmengine.config import Config

from vitpose_mm.analysis import (
    TrainingStep,
    complexity_report,
    measure_throughput,
    measure_training_step,
    peak_memory,
)

CPU = torch.device('cpu')
CODEC = dict(input_size=(48, 64), heatmap_size=(12, 16), sigma=2.0)


def config(head: str, codec: str, **backbone) -> Config:
    return Config(
        dict(
            default_scope='mmpose',
            model=dict(
                type='TopdownPoseEstimator',
                data_preprocessor=dict(type='PoseDataPreprocessor', mean=[127.0], std=[64.0]),
                backbone=dict(
                    type='ViT',
                    arch=dict(embed_dim=32, depth=4, num_heads=2),
                    img_size=(64, 48),
                    **backbone,
                ),
                head=dict(
                    type=head,
                    in_channels=32,
                    out_channels=17,
                    deconv_out_channels=(16, 16),
                    deconv_kernel_sizes=(4, 4),
                    loss=dict(type='KeypointMSELoss', use_target_weight=True),
                    decoder=dict(type=codec, **CODEC),
                ),
            ),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0)),
        )
    )


def test_peak_of_known_allocations():
    held = [torch.empty(100), torch.empty(50)]
    held.append(held[0][:10])  # shares its memory

    def call():
        first = torch.empty(1000)
        second = torch.empty(500)
        del first
        third = torch.empty(100)
        return second, third

    assert peak_memory(call, held, CPU) == (4 * 150, 4 * (150 + 1500))


@pytest.mark.parametrize(
    ('head', 'codec'),
    [('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap'), ('HeatmapHead', 'UDPHeatmap')],
    ids=['targets made by the head', "mmpose's own head"],
)
def test_step_trains(head, codec):
    torch.manual_seed(0)
    step = TrainingStep(config(head, codec), batch_size=2)
    losses = [step().item() for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    weights = sum(parameter.numel() for parameter in step.model.parameters())
    before, peak = peak_memory(step, step.held(), CPU)
    # weights and AdamW's two moments before; gradients at least on top
    assert 3 * 4 * weights < before < 1.5 * 3 * 4 * weights
    assert peak > before + 4 * weights


def test_both_kinds_of_targets_give_the_same_loss():
    losses = []
    for head, codec in (
        ('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap'),
        ('HeatmapHead', 'UDPHeatmap'),
    ):
        torch.manual_seed(0)
        losses.append(TrainingStep(config(head, codec), batch_size=3)().item())
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # mmpose cuts Gaussians a pixel off


def test_memory_repeats_and_checkpointing_saves_some():
    cfg = config('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap')
    cfg.model.backbone.arch.depth = 16
    reports = [
        measure_training_step(
            cfg, 8, device='cpu', activation_checkpointing=saving, rounds=1, warm_up=1
        )
        for saving in (False, False, True)
    ]
    plain, again, saving = [report['peak memory, MB'] for report in reports]
    assert plain == pytest.approx(again, rel=1e-3)
    assert saving < 0.9 * plain
    assert reports[2]['activation checkpointing'] is True
    assert 'activation_checkpointing' not in cfg.model.backbone


def test_bfloat16_is_autocast():
    cfg = config('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap')
    step = TrainingStep(cfg, 2, torch.bfloat16)
    dtypes = []
    linear = step.model.backbone.blocks[0].mlp.fc1
    linear.register_forward_hook(lambda _, __, output: dtypes.append(output.dtype))
    step()
    assert dtypes == [torch.bfloat16]
    assert linear.weight.dtype == torch.float32
    report = measure_training_step(cfg, 2, 'bfloat16', 'cpu', rounds=1)
    assert report['dtype'] == 'bfloat16 by autocast, weights float32'


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without GPU')
def test_missing_gpu_is_named():
    cfg = config('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap')
    with pytest.raises(ValueError, match="device 'cuda' needs a GPU"):
        measure_training_step(cfg, device='cuda')


def test_several_data_sets_with_experts():
    """A mixed batch, through each head in turn; inference is measured as of the first."""
    plain = config('TopdownHeatmapSimpleHead', 'BatchedUDPHeatmap')
    plain.model.type = 'TopdownViTPose'
    cfg = copy.deepcopy(plain)
    keypoints = dict(coco=17, aic=14)
    cfg.model.backbone.experts = list(keypoints)
    cfg.model.head = dict(
        type='MultiDatasetHead',
        shared=plain.model.head,
        heads={name: dict(out_channels=count) for name, count in keypoints.items()},
        order=list(keypoints),
    )
    step = TrainingStep(cfg, batch_size=3)
    samples = step.batch['data_samples']
    assert [sample.metainfo['dataset_name'] for sample in samples] == ['coco', 'aic', 'coco']
    losses = [step().item() for _ in range(3)]
    assert losses[2] < losses[0]
    costs, expected = (complexity_report(each, (64, 48)) for each in (cfg, plain))
    assert costs['total']['macs'] == expected['total']['macs'], 'experts and idle heads are free'
    assert measure_throughput(cfg, flip_test=True, decode=True, rounds=1)['batch size'] == 1
