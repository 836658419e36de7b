"""The top-down inferencer: pictures and videos in, people with keypoints out."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

import mmpose.apis
import numpy as np
import torch
from mmengine.logging import print_log
from mmpose.apis.inferencers import Pose2DInferencer
from mmpose.apis.inferencers.utils import default_det_models
from mmpose.registry import DATASETS, INFERENCERS

from vitpose_mm.models import MultiDatasetHead

from .boxes import BoxesFile, GivenBoxes
from .detector import Classes, Detector
from .frames import Inputs, camera_of
from .locating import Locator
from .reading import BatchReader, SampleReader, readings_of
from .run import Run

WHOLE_IMAGE = ('whole_image', 'whole-image')
ANIMAL_DATASETS = ('ap10k', 'apt36k', 'animalpose')
# COCO's mammals, which AP-10K has, too
ANIMALS = ('cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe')
BY_CLASS = {'person': 'coco', **dict.fromkeys(ANIMALS, 'ap10k')}

Datasets = Union[None, str, Sequence[str], Mapping[str, Union[str, Sequence[str]]]]


@INFERENCERS.register_module()
class ViTPoseInferencer(Pose2DInferencer):
    """mmpose's ``Pose2DInferencer``, same call and results, batched from detection to decoding.

    It differs where mmpose's loses time or people: each file is read once; boxes that are given are
    used; where nobody is found nobody is posed; people of many frames share batches; crops, flip
    test, heads and decoding run in batches on the model's device, while files are read and results
    drawn and written in other threads. Models of mmpose with other heads, codecs or pipelines are
    run through their own ``test_step``, in full batches, too.

    Args:
        model: As for mmpose's inferencer: path, name or config of a top-down model.
        weights: Its weights.
        device: Where all runs; by default a GPU if there is one.
        scope: Default scope of registries.
        det_model: Path or name of an mmdet config; 'whole_image' for no detector, but one person
            that fills each picture. By default mmpose's detector for the kind of data set, loaded
            when the first picture without given boxes comes.
        det_weights: Its weights.
        det_cat_ids: Classes to find, by names or numbers. By default those of ``dataset`` where it
            tells classes apart; else 'person' (for animals the mammals of COCO), or the only one.
        show_progress: Whether to show frames, speed and time left.
        dataset: For models with several heads: the data set whose head reads (by default that of
            ``test_cfg.dataset``, or the first), several to have each person read by each, or a dict
            from classes of the detector to these. 'by-class' is person: coco, and mammals: ap10k.
        people_batch_size: Greatest number of people in a batch; by default 64 on GPUs, 16 on CPUs.
        det_batch_size: Greatest number of images in a batch of the detector; by default 8 and 1.
        dtype: 'fp32', 'bf16' or 'fp16': what backbone and heads compute in.
        compile: Whether to compile the network (``torch.compile``); its first batch takes minutes.
        num_readers: Pictures that are read at a time; by default one for each core, at most 8.

    Raises:
        ValueError: An option does not fit, see the message.
    """

    preprocess_kwargs = {
        'bbox_thr',
        'nms_thr',
        'bboxes',
        'bbox_format',
        'boxes_file',
        'whole_image',
    }
    forward_kwargs = {'merge_results', 'pose_based_nms', 'tracking', 'smoothing'}
    postprocess_kwargs = Pose2DInferencer.postprocess_kwargs | {
        'coco_out',
        'arrays_out',
        'image_id',
    }

    def __init__(
        self,
        model: object,
        weights: Optional[str] = None,
        device: Optional[str] = None,
        scope: Optional[str] = 'mmpose',
        det_model: object = None,
        det_weights: Optional[str] = None,
        det_cat_ids: Optional[Classes] = None,
        show_progress: bool = False,
        *,
        dataset: Datasets = None,
        people_batch_size: Optional[int] = None,
        det_batch_size: Optional[int] = None,
        dtype: str = 'fp32',
        compile: bool = False,
        num_readers: Optional[int] = None,
    ) -> None:
        for name, size in dict(
            people_batch_size=people_batch_size,
            det_batch_size=det_batch_size,
            num_readers=num_readers,
        ).items():
            if size is not None and (type(size) is not int or size < 1):
                raise ValueError(f'{name} must be a whole number above 0, got {size!r}')
        self._det_batch_size = det_batch_size
        self._dataset = dataset
        super().__init__(
            model, weights, device, scope, det_model, det_weights, det_cat_ids, show_progress
        )
        on_cpu = next(self.model.parameters()).device.type == 'cpu'
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
        self.num_readers = num_readers or min(8, cores or 1)
        self._reader = None
        if self.cfg.data_mode != 'topdown':
            if dataset is not None or dtype != 'fp32' or compile:
                raise ValueError('dataset, dtype and compile are for top-down models')
            return
        if self.model.dataset_meta is None:
            raise ValueError(
                'what the keypoints are is not known: the checkpoint has no dataset_meta, and the '
                'config no train_dataloader whose data set tells'
            )
        names, self._readings_of_class = self._choose_heads(dataset)
        batch_size = people_batch_size or (16 if on_cpu else 64)
        readings = readings_of(self.model, self.pipeline, names)
        if readings is not None:
            self._reader = BatchReader(self.model, readings, batch_size, dtype, compile)
            self.metainfos = [reading.metainfo for reading in readings]
        elif len(names) > 1 or dtype != 'fp32' or compile:
            raise ValueError(
                'several data sets, dtype and compile need a model of which all heads are heatmap '
                'heads with BatchedUDPHeatmap or BatchedMSRAHeatmap as decoder, and a pipeline of '
                'loading, GetBBoxCenterScale, TopdownAffine and packing; this one has '
                f'{type(self.model.head).__name__} and {self.pipeline}'
            )
        else:
            if names[0] is not None:
                self.model.select_dataset(names[0])
            self._reader = SampleReader(self.model, self.pipeline, batch_size)
            self.metainfos = [self.model.dataset_meta]
        self._choose_detector(*self._asked_detector)

    # --- what reads and finds whom ---

    def _choose_heads(
        self, dataset: Datasets
    ) -> tuple[list[Optional[str]], Optional[dict[str, list[int]]]]:
        """Names of the data sets to read as, and which of them read which class."""
        if not isinstance(self.model.head, MultiDatasetHead):
            if dataset is not None:
                raise ValueError(
                    f'the model has a single head, which reads all alike, got dataset={dataset!r}'
                )
            return [None], None
        if dataset is None:
            dataset = self.model.test_cfg.get('dataset') or next(iter(self.model.head.routes))
        if dataset == 'by-class':
            dataset = BY_CLASS
        if not isinstance(dataset, Mapping):
            names = [dataset] if isinstance(dataset, str) else list(dict.fromkeys(dataset))
            for name in names:
                self.model.head.metainfo_of(name)
            return names, None
        by_class = {
            each: [names] if isinstance(names, str) else list(dict.fromkeys(names))
            for each, names in dataset.items()
        }
        names = list(dict.fromkeys(name for each in by_class.values() for name in each))
        for name in names:
            self.model.head.metainfo_of(name)
        return names, {each: [names.index(n) for n in own] for each, own in by_class.items()}

    def _init_detector(
        self,
        det_model: object = None,
        det_weights: Optional[str] = None,
        det_cat_ids: Optional[Classes] = None,
        device: Optional[str] = None,
    ) -> None:
        """In place of mmpose's, which loads a detector also where nobody will need it.

        It is called before the heads are chosen, which say what is to be found.
        """
        self.detector: Optional[Detector] = None
        self._whole_image = isinstance(det_model, str) and det_model in WHOLE_IMAGE
        self._asked_detector = (det_model, det_weights, det_cat_ids, device)

    def _choose_detector(
        self,
        model: object,
        weights: Optional[str],
        classes: Optional[Classes],
        device: Optional[str],
    ) -> None:
        if self._whole_image:
            return
        kinds = {self._kind_of(metainfo) for metainfo in self.metainfos}
        is_given = model is not None
        if not is_given:
            kind = 'animal' if 'animal' in kinds else next(iter(kinds))
            if kind not in default_det_models:
                self._whole_image = True
                return
            default = default_det_models[kind]
            model, weights = default['model'], default['weights']
            if kind != 'animal' and classes is None:  # of COCO's classes more may be wanted
                classes = default['cat_ids']

        def load() -> Detector:
            on = device or str(next(self.model.parameters()).device)
            batch_size = self._det_batch_size or (1 if on.startswith('cpu') else 8)
            detector = Detector(model, weights, None, on, batch_size)
            detector.choose(self._classes_for(detector, classes, kinds))
            return detector

        self._load_detector: Callable[[], Detector] = load
        if is_given:
            self.detector = load()

    def _kind_of(self, metainfo: dict) -> str:
        """What a data set is of, as mmpose names its folders: 'body', 'animal', 'hand', ..."""
        if isinstance(self.model.head, MultiDatasetHead):
            return 'animal' if metainfo['dataset_name'] in ANIMAL_DATASETS else 'body'
        module = DATASETS.get(self.cfg.dataset_type).__module__
        return module.split('datasets.')[-1].split('.')[0].lower()

    def _classes_for(
        self, detector: Detector, classes: Optional[Classes], kinds: set[str]
    ) -> Classes:
        """The classes that a detector is to find; see the class."""
        names = detector.class_names
        by_class = self._readings_of_class
        if by_class is not None:
            unknown = [name for name in by_class if name not in names]
            if unknown and self._dataset != 'by-class':
                raise ValueError(f'dataset names {unknown}; the detector has the classes {names}')
            if classes is None:
                classes = [name for name in by_class if name in names]
            detector.choose(classes)
            headless = [names[label] for label in detector.labels if names[label] not in by_class]
            if headless:
                raise ValueError(
                    f'det_cat_ids has {headless}, for which dataset={self._dataset!r} names no head'
                )
        elif classes is None:
            usual = (() if kinds == {'animal'} else ('person',)) + (
                ANIMALS if 'animal' in kinds else ()
            )
            classes = [name for name in usual if name in names]
            if not classes and len(names) == 1:
                classes = [0]
        if not classes and classes != 0:
            raise ValueError(
                'det_cat_ids must say which classes to find, by names or numbers; the detector '
                f'has, from 0: {names}'
            )
        return classes

    # --- the run ---

    def __call__(
        self,
        inputs: object,
        return_datasamples: bool = False,
        batch_size: Optional[int] = None,
        out_dir: Optional[str] = None,
        **options: object,
    ) -> Iterator[dict]:
        """Find people and their keypoints.

        Args:
            inputs: See :class:`vitpose_mm.apis.frames.Inputs`.
            return_datasamples: Whether predictions are ``PoseDataSample`` with arrays.
            batch_size: Greatest number of frames that are handled together; with 1 each frame's
                result comes before the next is looked at. By default as many as fill batches of
                people; frames of cameras and iterators never wait for others.
            out_dir: Short for ``vis_out_dir=OUT/visualizations, pred_out_dir=OUT/predictions``.
            **options: Those of mmpose's inferencer (``bbox_thr``, ``nms_thr``, ``merge_results``,
                ``pose_based_nms``, ``return_vis``, ``show``, ``wait_time``, ``draw_bbox``,
                ``radius``, ``thickness``, ``kpt_thr``, ``vis_out_dir``, ``skeleton_style``,
                ``draw_heatmap``, ``black_background``, ``pred_out_dir``), and

                - ``bboxes``, ``bbox_format``: boxes for each image instead of a detector, see
                  :class:`vitpose_mm.apis.boxes.GivenBoxes`; they are neither thresholded nor
                  suppressed;
                - ``boxes_file``: path of boxes in COCO's results format, thresholded by
                  ``bbox_thr``, or a :class:`vitpose_mm.apis.boxes.BoxesFile`;
                - ``whole_image``: take each picture for a box;
                - ``tracking``: whether people get ids over the frames of a video, or over a list of
                  pictures; a dict has arguments of ``Tracker``;
                - ``smoothing``: whether keypoints of tracked people are smoothed; a dict has
                  arguments of ``OneEuroSmoother``;
                - ``coco_out``, ``arrays_out``, ``image_id``: see
                  :class:`vitpose_mm.apis.outputs.Outputs`.

        Yields:
            For each frame, in order, a dict as mmpose's: ``predictions``, a list with a list of
            people (dicts with ``keypoints`` in image px, ``keypoint_scores``, ``bbox`` (xyxy in a
            tuple), ``bbox_score``, and ``track_id`` and ``dataset`` where there are several), or
            with samples, one for each head; ``visualization``, a list with the picture (H, W, 3)
            RGB if it was asked for; for videos ``time``, seconds since the first frame; and
            ``error`` if the picture could not be read.

        Raises:
            ValueError: An option does not fit, or no input can be found.
            ImageError: The only picture, or all of several, cannot be read.
            OSError: A file cannot be written; those written before are whole.
        """
        locating, reading, drawing, writing = self._dispatch_kwargs(**options)
        if self._reader is None:
            yield from self._call_mmpose(inputs, return_datasamples, out_dir, options)
            return
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f'batch_size must be a whole number above 0, got {batch_size!r}')
        if writing.pop('return_datasample', None):
            return_datasamples = True
        if out_dir is not None:
            drawing.setdefault('vis_out_dir', f'{out_dir}/visualizations')
            writing.setdefault('pred_out_dir', f'{out_dir}/predictions')
        if isinstance(inputs, str) and camera_of(inputs) is not None and 'show' not in drawing:
            print_log(
                'The camera is shown in a window, as by mmpose; show=False does not.', 'current'
            )
            drawing['show'] = True
        on_cpu = self._reader.device.type == 'cpu'
        inputs = Inputs(inputs, self.num_readers, in_bursts=on_cpu)
        locator = self._locator(inputs, **locating)
        reader = self._reader
        if drawing.get('draw_heatmap'):
            reader = self._reader_of_heatmaps()
        run = Run(
            reader, self.metainfos, self.visualizer, reading, drawing, writing, return_datasamples
        )
        yield from run.results(inputs, locator, batch_size, self.show_progress)

    def _locator(
        self,
        inputs: Inputs,
        bbox_thr: float = 0.3,
        nms_thr: float = 0.3,
        bboxes: object = None,
        bbox_format: Optional[str] = None,
        boxes_file: Union[str, Path, BoxesFile, None] = None,
        whole_image: bool = False,
    ) -> Locator:
        if (bboxes is not None) + (boxes_file is not None) + whole_image > 1:
            raise ValueError('give only one of bboxes, boxes_file and whole_image=True')
        options = (len(self.metainfos), self._readings_of_class, bbox_thr, nms_thr)
        if bboxes is not None:
            if inputs.has_videos and inputs.num_items != 1:
                raise ValueError(
                    'bboxes are given in the order of frames, and how many a video has is known at '
                    'its end only: give several videos, or videos and pictures, one by one'
                )
            if inputs.single and isinstance(bboxes, np.ndarray) and bboxes.ndim == 2:
                bboxes = [bboxes]
            return Locator(GivenBoxes(bboxes, bbox_format), *options)
        if boxes_file is not None:
            if not isinstance(boxes_file, BoxesFile):
                boxes_file = BoxesFile(boxes_file, threshold=bbox_thr)
            return Locator(boxes_file, *options)
        if whole_image or self._whole_image:
            return Locator(None, *options)
        if self.detector is None:
            self.detector = self._load_detector()
        return Locator(self.detector, *options)

    def _reader_of_heatmaps(self) -> SampleReader:
        """mmpose's own way, which keeps heatmaps.

        Raises:
            ValueError: It would read otherwise.
        """
        read_as = self.model.dataset_meta['dataset_name']
        names = [metainfo['dataset_name'] for metainfo in self.metainfos]
        if names != [read_as]:
            raise ValueError(
                f'draw_heatmap draws those of the head for {read_as!r}, but dataset asks for '
                f"{names}: select it by the config's model.test_cfg.dataset"
            )
        if getattr(self._reader, 'dtype', torch.float32) != torch.float32:
            raise ValueError("draw_heatmap needs dtype='fp32'")
        return SampleReader(self.model, self.pipeline, self._reader.batch_size, heatmaps=True)

    def _call_mmpose(
        self, inputs: object, return_datasamples: bool, out_dir: Optional[str], options: dict
    ) -> Iterator[dict]:
        known = set().union(
            Pose2DInferencer.preprocess_kwargs - {'bboxes'},
            Pose2DInferencer.forward_kwargs,
            Pose2DInferencer.visualize_kwargs,
            Pose2DInferencer.postprocess_kwargs,
        )
        if set(options) - known:
            raise ValueError(
                "models that are not top-down take mmpose's own way, which has no "
                f'{sorted(set(options) - known)}'
            )
        yield from super().__call__(inputs, return_datasamples, 1, out_dir, **options)


class MMPoseInferencer(mmpose.apis.MMPoseInferencer):
    """mmpose's ``MMPoseInferencer``, same call, with ``ViTPoseInferencer`` for 2D models.

    mmpose's names the class of its inferencer in its code, where none can be put in its place.

    Args:
        pose2d: As for mmpose's, like the arguments after it.
        **options: Further arguments of :class:`ViTPoseInferencer`.
    """

    def __init__(
        self,
        pose2d: object = None,
        pose2d_weights: Optional[str] = None,
        pose3d: Optional[str] = None,
        pose3d_weights: Optional[str] = None,
        device: Optional[str] = None,
        scope: str = 'mmpose',
        det_model: object = None,
        det_weights: Optional[str] = None,
        det_cat_ids: Optional[Classes] = None,
        show_progress: bool = False,
        **options: object,
    ) -> None:
        detector = (det_model, det_weights, det_cat_ids)
        if pose2d is None or pose3d is not None:
            super().__init__(
                pose2d, pose2d_weights, pose3d, pose3d_weights, device, scope, *detector,
                show_progress, **options,
            )  # fmt: skip
            return
        self.visualizer = None
        self.show_progress = show_progress
        self.inferencer = ViTPoseInferencer(
            pose2d, pose2d_weights, device, scope, *detector, show_progress, **options
        )

    def __call__(
        self,
        inputs: object,
        return_datasamples: bool = False,
        batch_size: Optional[int] = None,
        out_dir: Optional[str] = None,
        **options: object,
    ) -> Iterator[dict]:
        """See :class:`ViTPoseInferencer`; options for 3D models alone are passed over."""
        if not isinstance(self.inferencer, ViTPoseInferencer):
            yield from super().__call__(
                inputs, return_datasamples, batch_size or 1, out_dir, **options
            )
            return
        for_3d = (
            self.preprocess_kwargs | self.forward_kwargs | self.visualize_kwargs
        ) - set().union(
            ViTPoseInferencer.preprocess_kwargs,
            ViTPoseInferencer.forward_kwargs,
            ViTPoseInferencer.visualize_kwargs,
        )
        options = {key: value for key, value in options.items() if key not in for_3d}
        yield from self.inferencer(inputs, return_datasamples, batch_size, out_dir, **options)
