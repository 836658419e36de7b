"""A detector of mmdet that takes images in batches."""

import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from vitpose_mm.datasets.loading import box_problem

from .boxes import Boxes
from .memory import halving_batches

Classes = Union[int, str, Sequence[Union[int, str]]]


class Detector:
    """Finds objects of some classes with any model of mmdet.

    Args:
        model: Path or name of an mmdet config, or the config.
        weights: Its weights; with a name by default those that mmdet offers.
        classes: Names or numbers (from 0, in the model's order) of the classes to find; all if
            None.
        device: Where it runs.
        batch_size: Greatest number of images in a forward pass; only images that its pipeline
            brings to one size go together, so that each gives what it gives alone.

    Raises:
        ValueError: A class that the model does not know, or a config without weights.
        RuntimeError: mmdet is not installed.
    """

    def __init__(
        self,
        model: Union[str, Path, Config],
        weights: Optional[str] = None,
        classes: Optional[Classes] = None,
        device: Optional[str] = None,
        batch_size: int = 8,
    ) -> None:
        try:
            from mmdet.apis import DetInferencer
        except ImportError as error:
            raise RuntimeError('detectors need mmdet: pip install "mmdet>=3.2"') from error
        scope = 'mmdet'
        if isinstance(model, (str, Path)):
            model = str(model)
            if Path(model).is_file():
                if weights is None:
                    raise ValueError(f'the detector {model} needs weights, got None')
                scope = Config.fromfile(model).get('default_scope', 'mmdet')
        before = DefaultScope.get_current_instance()
        with warnings.catch_warnings():
            # that a palette is missing, which nobody sees here
            warnings.filterwarnings('ignore', message='.*palette.*')
            self._inferencer = DetInferencer(
                model, weights, device, scope=scope, show_progress=False
            )
        if before is not None:
            # mmdet's stays set, and what is built by name later would be mmdet's
            init_default_scope(before.scope_name)
        self.class_names = list(self._inferencer.model.dataset_meta['classes'])
        self.choose(classes)
        self.batch_size = batch_size

    def choose(self, classes: Optional[Classes]) -> None:
        """Find these classes from now on; see the class."""
        if classes is None:
            classes = range(len(self.class_names))
        wanted = list(classes) if isinstance(classes, Iterable) else [classes]
        wanted = [classes] if isinstance(classes, str) else wanted
        labels = []
        for each in wanted:
            if isinstance(each, str) and each in self.class_names:
                labels.append(self.class_names.index(each))
            elif isinstance(each, Integral) and 0 <= each < len(self.class_names):
                labels.append(int(each))
            else:
                raise ValueError(
                    f'the detector has no class {each!r}; it has, from 0: {self.class_names}'
                )
        self.labels = labels

    @torch.inference_mode()
    def detect(self, images: Sequence[np.ndarray], threshold: float = 0.3) -> list[Boxes]:
        """Find objects.

        Args:
            images: Each (H, W, 3) uint8, BGR.
            threshold: Only scores above this count.

        Returns:
            For each image its boxes, best first as the model gives them. Boxes without area or
            outside of the image, which some models give, are left out.
        """
        prepared = [self._inferencer.pipeline(dict(img=image)) for image in images]
        by_shape: dict[tuple, list[int]] = {}
        for index, each in enumerate(prepared):
            by_shape.setdefault(tuple(each['inputs'].shape), []).append(index)
        found: list[Optional[Boxes]] = [None] * len(images)
        for rows in by_shape.values():
            while rows:
                taken, rows = rows[: self.batch_size], rows[self.batch_size :]
                results = halving_batches(self._forward, [prepared[row] for row in taken], self)
                for row, result in zip(taken, results):
                    found[row] = self._boxes(result, threshold, images[row].shape[:2])
        return found

    def _forward(self, prepared: Sequence[dict]) -> list:
        return self._inferencer.model.test_step(self._inferencer.collate_fn(list(prepared)))

    def _boxes(self, result: object, threshold: float, image_hw: tuple[int, int]) -> Boxes:
        instances = result.pred_instances.cpu().numpy()
        labels = np.asarray(instances.labels)
        boxes = np.asarray(instances.bboxes, dtype=np.float32)
        scores = np.asarray(instances.scores, dtype=np.float32)
        chosen = np.isin(labels, self.labels) & (scores > threshold)
        chosen[chosen] = [box_problem(box, image_hw) is None for box in boxes[chosen].tolist()]
        classes = [self.class_names[label] for label in labels[chosen]]
        return Boxes(boxes[chosen], scores[chosen], classes)
