"""Training data of people: our pipeline and loader against mmpose's, with one worker each."""

import argparse
import copy
import itertools
import os
from collections.abc import Callable

import torch
from common import CONFIGS, OURS, PEER, PEER_CONFIG, Report, parse_arguments, require_agreement
from mmengine.config import Config
from mmengine.hub import get_config
from mmpose.registry import MODELS
from torch import Tensor
from torch.utils.data import DataLoader

from vitpose_mm.analysis import build_train_loader, config_scope

CONFIG = CONFIGS / 'custom/vitpose_tiny_simple_1xb64-10e_coco-style-256x192.py'
WITHOUT_CHANCE = {
    'RandomFlip': dict(prob=0.0),
    'RandomHalfBody': dict(prob=0.0),
    'RandomBBoxTransform': dict(shift_prob=0.0, scale_prob=0.0, rotate_prob=0.0),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data-root', required=True, help='folder with person_keypoints_train.json and images/'
    )
    parser.add_argument('--batch-size', type=int, default=64, help='people in a batch')
    parser.add_argument('--num-batches', type=int, default=10, help='batches in a round')


def load_configs(args: argparse.Namespace) -> dict[str, Config]:
    """Both sides on the same people, in the same order, with one worker that stays."""
    os.environ['DATA_ROOT'] = args.data_root.rstrip('/')
    ours, peer = Config.fromfile(CONFIG), get_config(PEER_CONFIG)
    for name in ('data_root', 'ann_file', 'data_prefix'):
        peer.train_dataloader.dataset[name] = ours.train_dataloader.dataset[name]
    for cfg in (ours, peer):
        cfg.train_dataloader.update(
            batch_size=args.batch_size,
            num_workers=1,
            persistent_workers=True,
            num_batch_per_epoch=args.num_batches,
        )
    return {OURS: ours, PEER: peer}


class Side:
    """A training loader, and what the main process makes of its batches."""

    def __init__(self, cfg: Config) -> None:
        self.loader = build_train_loader(cfg)
        with config_scope(cfg):
            self.preprocessor = MODELS.build(cfg.model.data_preprocessor)
            self.head = MODELS.build(cfg.model.head)

    def prepare(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images, target heatmaps and weights, as the loss gets them."""
        data = self.preprocessor(batch, True)
        samples = data['data_samples']
        if hasattr(self.head, 'targets'):
            return (data['inputs'], *self.head.targets(samples, data['inputs'].device))
        # mmpose's HeatmapHead.loss
        heatmaps = torch.stack([sample.gt_fields.heatmaps for sample in samples])
        weights = torch.cat([sample.gt_instance_labels.keypoint_weights for sample in samples])
        return data['inputs'], heatmaps, weights


def epochs(loader: DataLoader, use: Callable[[dict], object]) -> Callable[[], None]:
    """A call that goes through one epoch; at its end the worker has nothing more to do.

    So nothing is made ahead in the time of the other side.
    """
    number = itertools.count()

    def epoch() -> None:
        loader.sampler.set_epoch(next(number))
        for batch in loader:
            use(batch)

    return epoch


def check(configs: dict[str, Config]) -> dict[str, str]:
    """Without chance in their pipelines, both sides must make the same batch."""
    prepared, people = {}, {}
    for name, cfg in configs.items():
        cfg = copy.deepcopy(cfg)
        cfg.train_dataloader.update(num_workers=0, persistent_workers=False, num_batch_per_epoch=1)
        for transform in cfg.train_dataloader.dataset.pipeline:
            transform.update(WITHOUT_CHANCE.get(transform.type.removeprefix('Fast'), {}))
        side = Side(cfg)
        batch = next(iter(side.loader))
        people[name] = [sample.id for sample in batch['data_samples']]
        prepared[name] = side.prepare(batch)
    if people[OURS] != people[PEER]:
        raise SystemExit('the loaders give different people')
    return {
        'without augmentation, one batch': f'the same {len(people[OURS])} people',
        **{
            what: require_agreement(ours, theirs, tolerance, what)
            for what, ours, theirs, tolerance in zip(
                ('images', 'targets', 'weights'), prepared[OURS], prepared[PEER], (1e-5, 1e-5, 0.0)
            )
        },
    }


def main() -> None:
    args = parse_arguments('Time the way of training data.', rounds=10, add_options=add_options)
    configs = load_configs(args)
    agreement = check(configs)
    sides = {name: Side(cfg) for name, cfg in configs.items()}
    report = Report('Training data, one worker each, random augmentation on both sides', agreement)
    samples = args.num_batches * args.batch_size
    for what, uses in (
        ('batch in the main process', dict.fromkeys(sides, id)),
        ('and normalised, with targets', {name: side.prepare for name, side in sides.items()}),
    ):
        calls = {name: epochs(side.loader, uses[name]) for name, side in sides.items()}
        report.alternate(what, calls, args.rounds, warm_up=1, per=samples)
    pipelines = {
        f'{name}, pipeline': ', '.join(t.type for t in cfg.train_dataloader.dataset.pipeline)
        for name, cfg in configs.items()
    }
    report.finish(
        args.out, batch_size=args.batch_size, batches_per_round=args.num_batches, **pipelines
    )


if __name__ == '__main__':
    main()
