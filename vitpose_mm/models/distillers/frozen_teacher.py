from collections.abc import Callable, Sequence
from typing import Optional

import torch
from mmpose.models import TopdownPoseEstimator
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from ..heads import MultiDatasetHead
from ..heads.multi_dataset_head import dataset_name_of, pick

DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class FrozenTeacher:
    """A trained top-down estimator that does nothing but tell its heatmaps.

    It is no module, so that none contains it: no checkpoint, optimizer, average of weights, wrapper
    or change of mode gets to its parameters, and copies of a student share it.

    Args:
        model: mmpose's or ours, with heatmaps as its head's output. Frozen from now on.
        dtype: Numbers that it computes with, a name in ``DTYPES``, whatever the student does.
        compiled: Whether ``torch.compile`` makes its features faster.
        read_as: The data set as whose all samples are read; by default each as of its own.
    """

    def __init__(
        self,
        model: TopdownPoseEstimator,
        dtype: str = 'float32',
        compiled: bool = False,
        read_as: Optional[str] = None,
    ) -> None:
        self.dtype = DTYPES[dtype]
        self.model = model.eval().requires_grad_(False).to(self.dtype)
        self.read_as = read_as
        self._extract_feat = model.extract_feat
        if compiled:
            self._extract_feat = torch.compile(self._extract_feat)

    def __deepcopy__(self, memo: dict) -> 'FrozenTeacher':
        return self

    @torch.compiler.disable
    @torch.no_grad()
    def features(self, images: Tensor, samples: Sequence[PoseDataSample]) -> tuple[Tensor, ...]:
        """Features of images (B, 3, H, W), normalised, through the experts of their data sets.

        Raises:
            ValueError: It has experts, but none for a sample's data set.
        """
        if next(self.model.parameters()).device != images.device:
            self.model.to(images.device)
        routing = ()
        if getattr(self.model.backbone, 'experts', ()):
            routing = (self._ask(self.model.expert_ids, samples, self.read_as),)
        with torch.autocast(images.device.type, enabled=False):
            return self._extract_feat(images.to(self.dtype), *routing)

    @torch.compiler.disable
    @torch.no_grad()
    def heatmaps(self, features: tuple[Tensor, ...], samples: Sequence[PoseDataSample]) -> Tensor:
        """Heatmaps (B, K, H, W), float32, of the heads of the samples' data sets.

        Raises:
            ValueError: It has no head for a sample's data set, or they differ in keypoints.
        """
        with torch.autocast(features[-1].device.type, enabled=False):
            heads = self.heads_of(samples)
            heatmaps: list = [None] * len(samples)
            for head in dict.fromkeys(heads):
                indices = [index for index, each in enumerate(heads) if each is head]
                for index, each in zip(indices, head(pick(features, indices))):
                    heatmaps[index] = each
        if len({each.shape for each in heatmaps}) > 1:
            raise ValueError(
                "the teacher's heads for samples that one head of the student reads differ in "
                f'keypoints or size of heatmaps: {sorted({tuple(each.shape) for each in heatmaps})}'
            )
        return torch.stack(heatmaps).float()

    def heads_of(self, samples: Sequence[PoseDataSample]) -> list[nn.Module]:
        """The head that each sample is read by.

        Raises:
            ValueError: It has none for a sample's data set.
        """
        head = self.model.head
        if not isinstance(head, MultiDatasetHead):
            return [head] * len(samples)
        names = [self.read_as or dataset_name_of(sample) for sample in samples]
        return [head.heads[self._ask(head.route, name).head] for name in names]

    @staticmethod
    def _ask(function: Callable, *arguments: object) -> object:
        try:
            return function(*arguments)
        except ValueError as error:  # which speaks as of the model that is trained
            raise ValueError(f'asked of the teacher: {error}') from error
