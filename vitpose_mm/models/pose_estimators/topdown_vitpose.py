from typing import Optional

from mmpose.models import TopdownPoseEstimator
from mmpose.registry import MODELS
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


@MODELS.register_module()
class TopdownViTPose(TopdownPoseEstimator):
    """mmpose's top-down estimator that loads checkpoints of every source, and to the last name.

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

    def _load_state_dict_pre_hook(
        self, state_dict: dict[str, Tensor], prefix: str, local_meta: dict, *_: object, **__: object
    ) -> None:
        """In place of mmpose's, which registers the method of this name."""
        if not isinstance(self.backbone, ViT):
            super()._load_state_dict_pre_hook(state_dict, prefix, local_meta)
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
