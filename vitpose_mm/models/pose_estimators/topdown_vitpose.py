import copy
from collections.abc import Sequence
from typing import Optional, Union

import torch
from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from vitpose_mm.checkpoints import (
    CheckpointError,
    Weights,
    list_with_shapes,
    match_names,
    note_with,
    notes_of,
    read_weights,
    require_exact_match,
)

from ..backbones import ViT
from ..heads import MultiDatasetHead, ViTPoseHead
from ..heads.heatmap_heads import BACKBONE_ALONE
from ..heads.multi_dataset_head import dataset_name_of


@MODELS.register_module()
class TopdownViTPose(TopdownPoseEstimator):
    """mmpose's top-down estimator for one data set or several, and checkpoints of every source.

    Samples are routed by their ``dataset_name``: through the expert of their data set where the
    backbone has experts, and to its head in a :class:`MultiDatasetHead`. With
    ``test_cfg.dataset`` (see :meth:`select_dataset`) all are read as samples of that data set.

    With a ``ViT``, ``load_from``, the inferencers and ``init_model`` take files of the sources in
    ``vitpose_mm.checkpoints`` as they are. Of several heads the one asked for is taken, with its
    expert merged into the backbone. Names that neither model nor source knows are errors.

    Args:
        pretrained_dataset: For a model with a single head: which of the data sets in a checkpoint
            with several is its own.
        **options: See mmpose's ``TopdownPoseEstimator``.
    """

    def __init__(self, *, pretrained_dataset: Optional[str] = None, **options: object) -> None:
        super().__init__(**options)
        self.pretrained_dataset = pretrained_dataset
        # select_dataset must not change the config that it came from
        self.test_cfg = copy.copy(self.test_cfg)
        self._expert_ids = self._route_experts()
        if self.test_cfg.get('dataset') is not None:
            self.select_dataset(self.test_cfg['dataset'])

    def _route_experts(self) -> dict[str, int]:
        """Numbers of experts by ``dataset_name``; none where the backbone has none."""
        experts = list(getattr(self.backbone, 'experts', ()))
        if not experts:
            return {}
        if not isinstance(getattr(self, 'head', None), MultiDatasetHead):
            return {name: number for number, name in enumerate(experts)}
        wanted = {name: route.expert for name, route in self.head.routes.items()}
        if set(wanted.values()) != set(experts):
            raise ValueError(
                f'model.backbone.experts are {experts}, but the data sets of model.head go through '
                f'those of {wanted}: each expert needs a head, and each head an expert'
            )
        return {name: experts.index(expert) for name, expert in wanted.items()}

    @property
    def dataset_meta(self) -> dict:
        """Meta information for mmpose's inference functions.

        With several heads it is that of the data set as whose pictures are read, the first if none
        is selected, and ``sources`` has that of all; else, and where the head has none, what these
        functions take from the checkpoint.
        """
        if isinstance(getattr(self, 'head', None), MultiDatasetHead):
            routes = self.head.routes
            sources = (getattr(self, '_dataset_meta', None) or {}).get('sources', {})
            own = {name: route.metainfo for name, route in routes.items() if route.metainfo}
            sources = {**sources, **own}
            read_as = self.test_cfg.get('dataset') or next(iter(routes))
            if read_as in sources:
                return dict(sources[read_as], sources=sources)
            return self._dataset_meta
        # a checkpoint of several data sets tells of all, a single head is that of one
        sources = (self._dataset_meta or {}).get('sources', {})
        return sources.get(self.pretrained_dataset, self._dataset_meta)

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def select_dataset(self, dataset_name: Optional[str]) -> None:
        """Read all pictures as samples of a data set, by its expert, head, codec and flip pairs.

        mmpose's inference functions then make samples of it, too, from the model's
        ``dataset_meta``, with the crop that its codec needs if the pipeline crops by
        ``TopdownAffineByCodec``.

        Args:
            dataset_name: A data set that :class:`MultiDatasetHead` has meta information of; None to
                go by the samples' own ``dataset_name`` again.

        Raises:
            ValueError: The head is for one data set only, or knows no such data set.
        """
        if dataset_name is not None:
            if not isinstance(getattr(self, 'head', None), MultiDatasetHead):
                raise ValueError(
                    f'a model with a single head reads all pictures alike, got {dataset_name!r}'
                )
            self.head.metainfo_of(dataset_name)
        self.test_cfg['dataset'] = dataset_name

    def expert_ids(
        self, data_samples: Sequence[PoseDataSample], chosen: Optional[str] = None
    ) -> Optional[Tensor]:
        """Which of the backbone's experts each sample goes through.

        Args:
            data_samples: B samples with ``dataset_name``.
            chosen: The data set as whose all are read, if one is.

        Returns:
            Whole numbers (B,) on the CPU; None if the backbone has no experts.

        Raises:
            ValueError: A data set has no expert.
        """
        if not self._expert_ids:
            return None
        names = [chosen or dataset_name_of(sample) for sample in data_samples]
        return torch.tensor([self.expert_number(name) for name in names])

    def expert_number(self, dataset_name: str) -> Optional[int]:
        """The number of the expert that samples of a data set go through; None without experts.

        Raises:
            ValueError: The data set has no expert.
        """
        if self._expert_ids and dataset_name not in self._expert_ids:
            raise ValueError(
                f'no expert for dataset_name {dataset_name!r}; there are experts for '
                f'{list(self._expert_ids)}'
            )
        return self._expert_ids.get(dataset_name)

    def extract_feat(
        self, inputs: Tensor, expert_ids: Optional[Tensor] = None
    ) -> tuple[Tensor, ...]:
        """Features of images (B, 3, H, W), normalised; see :meth:`ViT.forward`."""
        routing = () if expert_ids is None else (expert_ids,)
        features = self.backbone(inputs, *routing)
        return self.neck(features) if self.with_neck else features

    def loss(self, inputs: Tensor, data_samples: Sequence[PoseDataSample]) -> dict[str, Tensor]:
        """Losses of a batch, see the head."""
        features = self.extract_feat(inputs, self.expert_ids(data_samples))
        if not self.with_head:
            return {}
        return self.head.loss(features, data_samples, train_cfg=self.train_cfg)

    def predict(
        self, inputs: Tensor, data_samples: Sequence[PoseDataSample]
    ) -> Sequence[PoseDataSample]:
        """Predict a batch; mmpose's method, with experts.

        Args:
            inputs: Images (B, 3, H, W), normalised.
            data_samples: Their samples.

        Returns:
            The samples with ``pred_instances``, keypoints in image px.
        """
        expert_ids = self.expert_ids(data_samples, self.test_cfg.get('dataset'))
        features = self.extract_feat(inputs, expert_ids)
        if self.test_cfg.get('flip_test', False):
            features = [features, self.extract_feat(inputs.flip(-1), expert_ids)]
        predictions = self.head.predict(features, data_samples, test_cfg=self.test_cfg)
        if not isinstance(predictions, tuple):
            predictions = (predictions, None)
        return self.add_pred_to_datasample(*predictions, data_samples)

    def _forward(
        self, inputs: Tensor, data_samples: Optional[Sequence[PoseDataSample]] = None
    ) -> Union[Tensor, dict[str, Tensor], tuple[Tensor, ...]]:
        """Heatmaps without samples: of ``test_cfg.dataset``, else of all heads."""
        chosen = self.test_cfg.get('dataset')
        expert_ids = None
        if self._expert_ids:
            if chosen is None:
                raise ValueError(
                    'without samples a model with experts must be told whose to use: set '
                    f'model.test_cfg.dataset to one of {list(self._expert_ids)}'
                )
            expert_ids = torch.full((len(inputs),), self._expert_ids[chosen])
        features = self.extract_feat(inputs, expert_ids)
        if not self.with_head:
            return features
        return self.head(features) if chosen is None else self.head(features, chosen)

    def _load_state_dict_pre_hook(
        self, state_dict: dict[str, Tensor], prefix: str, local_meta: dict, *_: object, **__: object
    ) -> None:
        """In place of mmpose's, which registers the method of this name."""
        if not isinstance(self.backbone, ViT):
            super()._load_state_dict_pre_hook(state_dict, prefix, local_meta)
            require_exact_match(self.backbone, state_dict, f'{prefix}backbone.', BACKBONE_ALONE)
            return
        translated = ['backbone.']
        if not self.with_head or isinstance(self.head, (ViTPoseHead, MultiDatasetHead)):
            translated.append('head.')
        own = {name for name in self.state_dict() if not name.startswith(tuple(translated))}
        given, others = {}, {}
        for name in [name for name in state_dict if name.startswith(prefix)]:
            inner, tensor = name[len(prefix) :], state_dict.pop(name)
            # written by older versions of mmengine
            if not inner.startswith('data_preprocessor.'):
                (others if inner in own else given)[inner] = tensor
        given = self._translate(given, notes_of(given, state_dict, local_meta))
        state_dict.update({prefix + name: tensor for name, tensor in {**given, **others}.items()})
        for name, module in self.named_children():
            # the backbone and heads of this package check themselves
            if f'{name}.' not in translated and name != 'data_preprocessor':
                require_exact_match(module, state_dict, f'{prefix}{name}.', BACKBONE_ALONE)

    def _translate(self, given: dict[str, Tensor], notes: dict) -> dict[str, Tensor]:
        """Bring the weights of any source to this model's heads; the backbone fits its own."""
        weights = read_weights(given, notes, join=False)
        if weights.unknown:
            raise CheckpointError(
                f'the checkpoint was taken for one of {weights.source}; neither that nor the model '
                f'has a place for: {list_with_shapes(weights.unknown)}'
            )
        if weights.heads and not self.with_head:
            raise CheckpointError(
                f'the checkpoint has heads for {list(weights.heads)}, the model has none'
            )
        if isinstance(getattr(self, 'head', None), MultiDatasetHead):
            translated = self._several_heads(weights)
        else:
            weights = self._one_head(weights)
            heads = list(weights.heads.values())
            translated = {f'head.{name}': t for head in heads for name, t in head.items()}
        experts = list(weights.experts)
        if experts and self.backbone.experts:
            stored = match_names(experts, self.backbone.experts, weights.stated)
            wanted = {theirs: ours for ours, theirs in stored.items()}
            experts = [wanted[name] for name in experts]
        if 'pos_embed' in weights.backbone:
            # another view, since what is noted here holds for this model
            positions = weights.backbone['pos_embed'][:]
            notes = dict(notes, class_token=weights.class_token, experts=experts)
            note_with(positions, notes)
            weights.backbone['pos_embed'] = positions
        translated.update({f'backbone.{name}': t for name, t in weights.backbone.items()})
        return translated

    def _one_head(self, weights: Weights) -> Weights:
        advice = 'name one by model.pretrained_dataset'
        weights = weights.only_head(self.pretrained_dataset, advice)
        if self.backbone.experts:
            return weights
        dataset = self.pretrained_dataset or next(iter(weights.heads), None)
        expert = self.backbone.pretrained_expert
        if weights.experts and expert not in (None, dataset):
            raise CheckpointError(
                f'the head is of {dataset!r} (model.pretrained_dataset), the expert to merge of '
                f'{expert!r} (model.backbone.pretrained_expert)'
            )
        return weights.merge_experts(dataset, advice)

    def _several_heads(self, weights: Weights) -> dict[str, Tensor]:
        if weights.experts and not self.backbone.experts:
            raise CheckpointError(
                f'the checkpoint has experts for {list(weights.experts)}: the model needs '
                'model.backbone.experts'
            )
        wanted = list(self.head.heads)
        if not weights.heads:
            raise CheckpointError(
                f'the checkpoint has no heads, the model those of {wanted}. {BACKBONE_ALONE}'
            )
        stored = match_names(list(weights.heads), wanted, weights.stated)
        return {
            f'head.heads.{ours}.{name}': tensor
            for ours in wanted
            for name, tensor in weights.heads[stored[ours]].items()
        }
