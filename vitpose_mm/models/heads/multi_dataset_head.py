from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional, Union

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import ModuleDict
from mmengine.structures import InstanceData, PixelData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.models.heads import BaseHead
from mmpose.registry import DATASETS, KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from vitpose_mm.checkpoints import require_exact_match
from vitpose_mm.codecs import BatchedHeatmapCodec
from vitpose_mm.datasets import in_order

from .heatmap_heads import HeatmapLosses

LOSS_WEIGHTINGS = ('samples', 'datasets')
BATCH_NORMS = ('own', 'mixed')
ROUTE_KEYS = {'head', 'expert', 'decoder', 'metainfo', 'test_cfg'}


@dataclass(frozen=True)
class Route:
    """What reads the samples of a data set.

    Attributes:
        head: Name of the head.
        expert: Name of the expert in the backbone, if that has experts.
        decoder: Codec that reads the heatmaps in evaluation.
        num_keypoints: K of the head, None if it does not say.
        metainfo: Parsed meta information of the data set, None if it is only in the samples.
        test_cfg: Its own ``shift_heatmap``, if not the model's.
    """

    head: str
    expert: str
    decoder: object
    num_keypoints: Optional[int]
    metainfo: Optional[dict] = None
    test_cfg: dict = field(default_factory=dict)

    @property
    def input_size(self) -> Optional[tuple[int, int]]:
        """Width and height of the crop that the codec needs, px."""
        size = getattr(self.decoder, 'input_size', None)
        return None if size is None else tuple(size)


@MODELS.register_module()
class MultiDatasetHead(BaseHead):
    """A head for each data set on one backbone (arXiv 2204.12484, section 4.4; arXiv 2212.04246).

    Samples are told apart by ``dataset_name``, batches may mix them. Each head has its own decoder,
    codec, flip pairs and loss, and sees its own samples alone, so that its batch norm's statistics
    are those of its data set. The official code runs each head on the whole batch instead:
    ``batch_norm='mixed'``.

    **Loss.** ``loss_kpt`` adds up the heads' losses, which are means over their samples. With
    ``loss_weighting='samples'`` each is weighted by its share of the samples, so that each sample
    counts alike, as in the paper (and the official code, which divides by the whole batch); with
    'datasets' each head counts alike, however many samples it has in a batch. Samples are
    counted over all processes in training, so two processes equal one with the doubled batch. On
    top of it each head's own loss module has a ``loss_weight``. For the log there are
    ``<head>/kpt``, the mean over its samples in this process, and ``<head>/acc_pose``.

    **Absent data sets.** Heads without samples in a batch join the loss with weight zero: their
    gradient is zero, not missing, so data-parallel training needs no ``find_unused_parameters``.
    Under AdamW they still decay by ``lr * weight_decay`` and follow the momentum they have.

    Args:
        heads: Configs of heads by the ``dataset_name`` of their data set. Besides a
            head's own entries each may hold ``metainfo`` (as data sets have it, or the name of a
            class of data sets) to be applied to any picture, and ``test_cfg`` with its own
            ``shift_heatmap``; what else is in the model's ``test_cfg`` holds for all.
        shared: What all heads' configs have in common.
        datasets: Further data sets that are read by one of the heads, by ``dataset_name``: dicts
            with ``head``, and optionally ``expert`` (by default the head's), ``metainfo``,
            ``decoder`` (else the head's, as is its ``test_cfg``) and ``test_cfg``.
        order: Names of the heads in their order, which matters for files of other projects; the
            first reads pictures that do not say of which data set they are. By default it is
            alphabetical, as mmengine sorts the configs that it writes.
        loss_weighting: 'samples' or 'datasets', see above.
        batch_norm: 'own' or 'mixed', see above.

    Raises:
        ValueError: A config does not fit, see the message.
    """

    def __init__(
        self,
        heads: dict[str, dict],
        shared: Optional[dict] = None,
        datasets: Optional[dict[str, dict]] = None,
        order: Optional[Sequence[str]] = None,
        loss_weighting: str = 'samples',
        batch_norm: str = 'own',
    ) -> None:
        super().__init__()
        names = heads if isinstance(heads, dict) else {}
        if not names or any(not isinstance(n, str) or not n or '.' in n for n in names):
            raise ValueError(
                f'heads must be configs by names of data sets, without dots, got {heads!r}'
            )
        if loss_weighting not in LOSS_WEIGHTINGS:
            raise ValueError(
                f'loss_weighting must be one of {LOSS_WEIGHTINGS}, got {loss_weighting!r}'
            )
        if batch_norm not in BATCH_NORMS:
            raise ValueError(f'batch_norm must be one of {BATCH_NORMS}, got {batch_norm!r}')
        self.loss_weighting = loss_weighting
        self.batch_norm = batch_norm
        self.heads = ModuleDict()  # unlike torch's it hands init_weights on
        self.routes: dict[str, Route] = {}
        order = sorted(heads) if order is None else list(order)
        if sorted(order) != sorted(heads):
            raise ValueError(f'order must hold each of the heads {list(heads)} once, got {order}')
        for name in order:
            config = {**(shared or {}), **heads[name]}
            route = {key: config.pop(key) for key in ('metainfo', 'test_cfg') if key in config}
            self.heads[name] = MODELS.build(config)
            self._add_route(name, {'head': name, **route})
        for name, config in (datasets or {}).items():
            self._add_route(name, config)
        sizes = {name: r.input_size for name, r in self.routes.items() if r.input_size}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                'the codecs of all data sets must have one input_size, as batches mix them, got '
                f'{sizes}'
            )
        self._register_load_state_dict_pre_hook(self._check_state_dict)

    def _add_route(self, name: str, config: dict) -> None:
        unknown = set(config) - ROUTE_KEYS
        if unknown or config.get('head') not in self.heads:
            raise ValueError(
                f'data set {name!r} must name one of the heads {list(self.heads)} and may have '
                f'{sorted(ROUTE_KEYS)}, got {dict(config)}'
            )
        if name in self.routes:
            raise ValueError(f'data set {name!r} has a head of its own, but also {dict(config)}')
        head = self.heads[config['head']]
        decoder, test_cfg = head.decoder, {}
        if config.get('decoder') is not None:
            decoder = KEYPOINT_CODECS.build(config['decoder'])
            if not isinstance(decoder, BatchedHeatmapCodec):
                raise ValueError(
                    f'data set {name!r}: its decoder must be one of BatchedUDPHeatmap and '
                    f'BatchedMSRAHeatmap, got {type(decoder).__name__}'
                )
        elif config['head'] in self.routes:
            test_cfg = self.routes[config['head']].test_cfg
        own_cfg = dict(config.get('test_cfg') or {})
        if set(own_cfg) - {'shift_heatmap'}:
            raise ValueError(
                f'data set {name!r}: its test_cfg may have shift_heatmap, got {own_cfg}; all else '
                "is the same for all data sets of a batch and belongs to the model's test_cfg"
            )
        metainfo = config.get('metainfo')
        num_keypoints = getattr(head, 'out_channels', None)
        if metainfo is not None:
            metainfo = parse_metainfo(metainfo)
            if num_keypoints not in (None, metainfo['num_keypoints']):
                raise ValueError(
                    f'data set {name!r}: its meta information has {metainfo["num_keypoints"]} '
                    f'keypoints, head {config["head"]!r} has out_channels {num_keypoints}'
                )
            if metainfo['dataset_name'] != name:
                raise ValueError(
                    f'data set {name!r}: its meta information is that of '
                    f'{metainfo["dataset_name"]!r}'
                )
        self.routes[name] = Route(
            head=config['head'],
            expert=config.get('expert', config['head']),
            decoder=decoder,
            num_keypoints=num_keypoints,
            metainfo=metainfo,
            test_cfg={**test_cfg, **own_cfg},
        )

    def route(self, dataset_name: str) -> Route:
        """What reads samples of a data set.

        Raises:
            ValueError: Nothing does.
        """
        if dataset_name not in self.routes:
            raise ValueError(
                f'no head for dataset_name {dataset_name!r}; there are heads for '
                f'{list(self.routes)} (model.head.heads and model.head.datasets)'
            )
        return self.routes[dataset_name]

    def forward(
        self, feats: tuple[Tensor], dataset_name: Optional[str] = None
    ) -> Union[dict[str, Tensor], Tensor]:
        """Compute heatmaps.

        Args:
            feats: Features (B, C, h, w), the last of a tuple.
            dataset_name: Whose head to apply to all samples; by default all heads are applied.

        Returns:
            Heatmaps (B, K, H, W), or these by the names of the heads.
        """
        if dataset_name is not None:
            return self.heads[self.route(dataset_name).head](feats)
        return {name: head(feats) for name, head in self.heads.items()}

    def loss(
        self,
        feats: tuple[Tensor],
        batch_data_samples: Sequence[PoseDataSample],
        train_cfg: Optional[dict] = None,
        further_losses: Optional[HeatmapLosses] = None,
    ) -> dict[str, Tensor]:
        """Loss of a batch of any data sets.

        Args:
            feats: Features (B, C, h, w), the last of a tuple.
            batch_data_samples: B samples with ``dataset_name`` and targets, see
                ``ViTPoseHead.targets``.
            train_cfg: See ``ViTPoseHead.loss``.
            further_losses: Asked of each head's heatmaps and its samples, see ``ViTPoseHead.loss``.

        Returns:
            See the class.
        """
        own = defaultdict(list)
        for index, sample in enumerate(batch_data_samples):
            own[self.route(dataset_name_of(sample)).head].append(index)
        weights, is_anywhere = self._weights({n: len(own[n]) for n in self.heads}, feats[-1].device)
        total: dict[str, Tensor] = {}
        logged: dict[str, Tensor] = {}
        zero = feats[-1].new_zeros(())
        for name, head in self.heads.items():
            if not own[name]:
                zero = zero + self._join_graph(head, feats, is_anywhere[name])
                continue
            samples = [batch_data_samples[index] for index in own[name]]
            losses = self._head_loss(head, feats, own[name], samples, train_cfg, further_losses)
            for key, value in losses.items():
                if 'loss' in key:
                    total[key] = total.get(key, 0.0) + weights[name] * value
                    # mmengine adds up whatever has 'loss' in its name
                    key, value = key.replace('loss_', '').replace('loss', 'mean'), value.detach()
                logged[f'{name}/{key}'] = value
        first = next(iter(total))
        total[first] = total[first] + zero
        return {**total, **logged}

    def _head_loss(
        self,
        head: nn.Module,
        feats: tuple[Tensor],
        indices: list[int],
        samples: list[PoseDataSample],
        train_cfg: Optional[dict],
        further_losses: Optional[HeatmapLosses],
    ) -> dict[str, Tensor]:
        # other heads than ours know no further losses
        further = {} if further_losses is None else dict(further_losses=further_losses)
        if self.batch_norm == 'own' or not self.training:
            return head.loss(pick(feats, indices), samples, train_cfg=train_cfg or {}, **further)
        (heatmaps,) = pick((head(feats),), indices)
        return head.loss_of_samples(heatmaps, samples, train_cfg, **further)

    def _join_graph(self, head: nn.Module, feats: tuple[Tensor], is_anywhere: bool) -> Tensor:
        """A zero that depends on each parameter of a head without samples."""
        if self.batch_norm == 'mixed' and self.training:
            return head(feats).sum() * 0.0
        synchronized = any(isinstance(m, nn.SyncBatchNorm) for m in head.modules())
        if synchronized and is_anywhere and self.training:
            # processes that have samples wait for this one
            return head(pick(feats, [])).sum() * 0.0
        return sum(p.sum() for p in head.parameters() if p.requires_grad) * 0.0

    def _weights(
        self, counts: dict[str, int], device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, bool]]:
        """Weights of the heads' mean losses, and whether any process has samples of each."""
        own = torch.tensor(list(counts.values()), dtype=torch.float32, device=device)
        everywhere, num_processes = own.clone(), 1
        if self.training:
            all_reduce(everywhere)
            num_processes = get_world_size()
        if self.loss_weighting == 'samples':
            weights = own / everywhere.sum()
        else:
            # outside of training data sets may come one by one
            num_datasets = len(counts) if self.training else (own > 0).sum()
            weights = own / everywhere.clamp(min=1) / num_datasets
        # data-parallel training averages the processes' gradients
        weights = weights * num_processes
        has_synchronized = any(isinstance(m, nn.SyncBatchNorm) for m in self.modules())
        is_anywhere = (everywhere > 0).tolist() if has_synchronized else [True] * len(counts)
        return dict(zip(counts, weights)), dict(zip(counts, is_anywhere))

    def predict(
        self,
        feats: Union[tuple[Tensor], list[tuple[Tensor]]],
        batch_data_samples: Sequence[PoseDataSample],
        test_cfg: Optional[dict] = None,
    ) -> Union[list[InstanceData], tuple[list[InstanceData], list[PixelData]]]:
        """Predict a batch of any data sets, in its order.

        Args:
            feats: Features (B, C, h, w), the last of a tuple; with flip test a list of those of
                the pictures and of the flipped pictures.
            batch_data_samples: B samples with ``dataset_name``.
            test_cfg: As for mmpose's heads, and ``dataset``: the data set as whose all samples are
                read. They take on its meta information.

        Returns:
            See mmpose's ``HeatmapHead``; keypoints are in input px.

        Raises:
            ValueError: A data set has no head, or one to be read as has no ``metainfo``.
        """
        test_cfg = dict(test_cfg or {})
        chosen = test_cfg.pop('dataset', None)
        if chosen is not None:
            metainfo = self.metainfo_of(chosen)
            for sample in batch_data_samples:
                sample.set_metainfo(metainfo)
        by_dataset = defaultdict(list)
        for index, sample in enumerate(batch_data_samples):
            by_dataset[dataset_name_of(sample)].append(index)
        results: list = [None] * len(batch_data_samples)
        for name, indices in by_dataset.items():
            route = self.route(name)
            options = {**test_cfg, **route.test_cfg}
            picked = [pick(f, indices) for f in (feats if isinstance(feats, list) else [feats])]
            samples = [batch_data_samples[index] for index in indices]
            predictions = self._read(route, picked, samples, options)
            rows = zip(*predictions) if isinstance(predictions, tuple) else zip(predictions)
            for index, row in zip(indices, rows):
                results[index] = row
        columns = tuple(map(list, zip(*results)))
        return columns if len(columns) > 1 else columns[0]

    def _read(
        self, route: Route, feats: list, samples: list[PoseDataSample], options: dict
    ) -> Union[list[InstanceData], tuple[list[InstanceData], list[PixelData]]]:
        head = self.heads[route.head]
        feats = feats if options.get('flip_test') else feats[0]
        if route.decoder is head.decoder:
            return head.predict(feats, samples, options)
        predictions, fields = head.predict(feats, samples, {**options, 'output_heatmaps': True})
        decoded = route.decoder.batch_decode(torch.stack([each.heatmaps for each in fields]))
        for prediction, keypoints, scores in zip(predictions, *decoded):
            prediction.set_data(dict(keypoints=keypoints, keypoint_scores=scores))
        return (predictions, fields) if options.get('output_heatmaps') else predictions

    def metainfo_of(self, dataset_name: str) -> dict:
        """Meta information of a data set, for pictures to be read as its samples.

        Raises:
            ValueError: The data set is unknown, or its meta information.
        """
        metainfo = self.route(dataset_name).metainfo
        if metainfo is None:
            raise ValueError(
                f'to read pictures as of {dataset_name!r} its head needs the meta information: '
                f'model.head.heads.{dataset_name}.metainfo=dict(from_file=...)'
            )
        return metainfo

    def _check_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
        require_exact_match(self, state_dict, prefix)


def parse_metainfo(metainfo: Union[str, dict]) -> dict:
    """Parse meta information, given as data sets have it or by the name of a class of these."""
    if isinstance(metainfo, str):
        dataset = DATASETS.get(metainfo)
        if dataset is None:
            raise ValueError(f'metainfo must be a dict or a registered data set, got {metainfo!r}')
        metainfo = dataset.METAINFO
    return parse_pose_metainfo(in_order(metainfo))


def dataset_name_of(sample: PoseDataSample) -> str:
    """The data set of a sample.

    Raises:
        ValueError: The sample does not say.
    """
    name = sample.metainfo.get('dataset_name')
    if name is None:
        raise ValueError(
            "a sample has no dataset_name: PackPoseInputs must have 'dataset_name' in its "
            f'meta_keys (it is there by default), got {sorted(sample.metainfo)}'
        )
    return name


def pick(feats: tuple[Tensor, ...], indices: Sequence[int]) -> tuple[Tensor, ...]:
    """Samples of features (B, ...)."""
    if list(indices) == list(range(len(feats[-1]))):
        return tuple(feats)
    chosen = torch.tensor(indices, dtype=torch.long, device=feats[-1].device)
    return tuple(each[chosen] for each in feats)
