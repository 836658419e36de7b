from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.models import TopdownPoseEstimator
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from vitpose_mm.codecs import is_udp

from ..backbones import ViT
from ..heads import MultiDatasetHead, ViTPoseHead
from ..heads.heatmap_heads import MSE
from ..heads.multi_dataset_head import pick
from ..pose_estimators import TopdownViTPose
from .frozen_teacher import DTYPES, FrozenTeacher


@MODELS.register_module()
class HeatmapDistiller(TopdownViTPose):
    """A ``TopdownViTPose`` that learns from a teacher's heatmaps as well (section 3.5).

    In all but its loss it is the student: parameters, checkpoints and predictions are those of a
    ``TopdownViTPose`` with the same arguments, as which it is used afterwards. Only training loads
    the teacher, which sees the very inputs of the student.

    The loss is ``loss_kpt`` against the annotations plus ``loss_distillation`` against the
    teacher's heatmaps, both of the same, single pass of the student. With knowledge tokens in the
    backbone and a ``TokenDistillationHook`` it is the paper's combination of both (Table 8). With
    several data sets each sample is compared with the teacher's head of its ``dataset_name``.

    Args:
        teacher: Config file of the teacher, or the config of its model.
        teacher_checkpoint: Its weights.
        teacher_dtype: 'float32', 'float16' or 'bfloat16': what it computes with.
        compile_teacher: Whether it is compiled by ``torch.compile``.
        loss_distillation: Config of the loss against its heatmaps; by default mean squared error
            with the weight 1 of the paper.
        only_labelled: Whether only keypoints with a label are compared; by default all, as in the
            paper's equation, since the teacher tells the others, too.
        **student: See ``TopdownViTPose``.

    Raises:
        ValueError: An argument is not what it should be. From ``init_weights``: the teacher lacks
            a head, predicts other keypoints, or wants other inputs. From ``loss``: there is no
            teacher yet, or its heatmaps have another size.
    """

    def __init__(
        self,
        *,
        teacher: Union[str, dict],
        teacher_checkpoint: str,
        teacher_dtype: str = 'float32',
        compile_teacher: bool = False,
        loss_distillation: dict = MSE,
        only_labelled: bool = False,
        **student: object,
    ) -> None:
        super().__init__(**student)
        if not isinstance(getattr(self, 'head', None), (ViTPoseHead, MultiDatasetHead)):
            raise ValueError(
                'distillation needs a head of this package, whose heatmaps it compares: model.head '
                f'is {type(getattr(self, "head", None)).__name__}'
            )
        if teacher_dtype not in DTYPES:
            raise ValueError(f'teacher_dtype must be one of {list(DTYPES)}, got {teacher_dtype!r}')
        if not isinstance(teacher, (str, Path, dict)):
            raise ValueError(
                f'teacher must be a config file or the config of a model, got {teacher!r}'
            )
        if not isinstance(teacher_checkpoint, (str, Path)):
            raise ValueError(f'teacher_checkpoint must be a file, got {teacher_checkpoint!r}')
        for name, value in (('compile_teacher', compile_teacher), ('only_labelled', only_labelled)):
            if not isinstance(value, bool):
                raise ValueError(f'{name} must be True or False, got {value!r}')
        self.teacher_options = dict(dtype=teacher_dtype, compiled=compile_teacher)
        self.teacher_config = teacher
        self.teacher_checkpoint = str(teacher_checkpoint)
        self.teacher: Optional[FrozenTeacher] = None
        self.loss_distillation = MODELS.build(loss_distillation)
        self.only_labelled = only_labelled

    def init_weights(self) -> None:
        """Initialise the student, and load the teacher."""
        super().init_weights()
        teacher = self.build_teacher()
        # what is ours checks itself, and knows files of other sources
        is_ours = isinstance(teacher, TopdownViTPose) and isinstance(teacher.backbone, ViT)
        load_checkpoint(teacher, self.teacher_checkpoint, 'cpu', strict=not is_ours)
        # where the student's samples have heads of their own, each is that of its data set
        one_head = not isinstance(self.head, MultiDatasetHead)
        read_as = (teacher.test_cfg or {}).get('dataset') if one_head else None
        self.teacher = FrozenTeacher(teacher, **self.teacher_options, read_as=read_as)

    def build_teacher(self) -> TopdownPoseEstimator:
        """The teacher without its weights, which are loaded by ``init_weights``.

        Raises:
            ValueError: It does not suit the student.
        """
        config = self.teacher_config
        if isinstance(config, (str, Path)):
            if not Path(config).is_file():
                raise ValueError(f'model.teacher: there is no config file {str(config)!r}')
            path, config = config, Config.fromfile(config).get('model')
            if config is None:
                raise ValueError(f'model.teacher: the config {str(path)!r} has no model')
        teacher = MODELS.build(config)
        head = getattr(teacher, 'head', None)
        is_estimator = isinstance(teacher, TopdownPoseEstimator)
        if not is_estimator or not isinstance(head, (HeatmapHead, MultiDatasetHead)):
            raise ValueError(
                'model.teacher must be a top-down estimator with heatmaps, got '
                f'{type(teacher).__name__} with the head {type(head).__name__}'
            )
        self._require_same_inputs(teacher)
        self._require_heads(teacher)
        return teacher

    def _require_same_inputs(self, teacher: TopdownPoseEstimator) -> None:
        ours, theirs = (
            dict(
                bgr_to_rgb=each._channel_conversion,
                mean=each.mean.flatten().tolist() if each._enable_normalize else None,
                std=each.std.flatten().tolist() if each._enable_normalize else None,
            )
            for each in (self.data_preprocessor, teacher.data_preprocessor)
        )
        if ours != theirs:
            raise ValueError(
                'student and teacher see the same inputs, but model.data_preprocessor normalises '
                f'by {ours}, the teacher was trained with {theirs}'
            )

    def _require_heads(self, teacher: TopdownPoseEstimator) -> None:
        if not isinstance(self.head, MultiDatasetHead):
            if not isinstance(teacher.head, MultiDatasetHead):  # else samples tell which
                require_alike(self.head, teacher.head)
            return
        heads = self.head.heads
        if not isinstance(teacher.head, MultiDatasetHead):
            raise ValueError(
                f'the student has heads for {list(heads)}, the teacher a single head: it must have '
                'one for each'
            )
        routes = teacher.head.routes
        for name, head in heads.items():
            if name not in routes:
                raise ValueError(
                    f'the student has a head for {name!r}, the teacher for {list(routes)} only'
                )
            require_alike(head, teacher.head.heads[routes[name].head], f' of {name!r}')

    def loss(self, inputs: Tensor, data_samples: Sequence[PoseDataSample]) -> dict[str, Tensor]:
        """Losses of a batch, against annotations and teacher; see the head.

        Args:
            inputs: Images (B, 3, H, W), normalised.
            data_samples: Their samples.
        """
        teacher = self.teacher
        if teacher is None:
            raise ValueError(
                'the teacher has no weights yet: call init_weights(), as runners do before they '
                'train'
            )
        taught = teacher.features(inputs, data_samples)
        rows = {id(sample): row for row, sample in enumerate(data_samples)}

        def further_losses(
            heatmaps: Tensor, weights: Tensor, samples: Sequence[PoseDataSample]
        ) -> dict[str, Tensor]:
            own = pick(taught, [rows[id(sample)] for sample in samples])
            target = teacher.heatmaps(own, samples)
            if not isinstance(self.head, MultiDatasetHead):
                for head in dict.fromkeys(teacher.heads_of(samples)):
                    require_alike(self.head, head)
            if target.shape != heatmaps.shape:
                raise ValueError(
                    "the teacher's heatmaps (keypoints, rows, columns) are "
                    f"{tuple(target.shape[1:])}, the student's {tuple(heatmaps.shape[1:])}: both "
                    'must have the same'
                )
            if not self.only_labelled:
                weights = torch.ones_like(weights)
            return dict(loss_distillation=self.loss_distillation(heatmaps, target, weights))

        features = self.extract_feat(inputs, self.expert_ids(data_samples))
        return self.head.loss(
            features, data_samples, train_cfg=self.train_cfg, further_losses=further_losses
        )


def require_alike(student: nn.Module, teacher: nn.Module, whose: str = '') -> None:
    """Raise a ``ValueError`` if the heatmaps of two heads do not stand for the same.

    Args:
        student: With ``out_channels`` and, as its ``decoder``, a codec.
        teacher: Likewise.
        whose: Ends the mention of keypoints in the message.
    """
    ours, theirs = (
        {
            'keypoints': head.out_channels,
            'UDP': head.decoder and is_udp(type(head.decoder)),
            'sigma': getattr(head.decoder, 'sigma', None),
        }
        for head in (student, teacher)
    )
    for key, value in ours.items():
        if value != theirs[key] and None not in (value, theirs[key]):
            raise ValueError(
                f"the teacher's heatmaps{whose} must be of the student's kind, but {key} is "
                f'{theirs[key]} there and {value} here'
            )
