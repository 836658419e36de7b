"""Poses drawn by mmpose's visualizer."""

import copy
from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

ESCAPE = 27


class Drawer:
    """Draws poses of one head or several over an image.

    Args:
        visualizer: mmpose's.
        metainfos: Meta information of each head's data set: skeleton and colours.
        skeleton_style: 'mmpose' or 'openpose'.
        black_background: Whether to draw on black instead of the image.
        **options: ``kpt_thr``, ``draw_bbox``, ``show``, ``wait_time`` in seconds; see the
            visualizer.

    Attributes:
        stopped: Whether the Escape key was pressed in a window that shows a video.
    """

    def __init__(
        self,
        visualizer: PoseLocalVisualizer,
        metainfos: Sequence[dict],
        skeleton_style: str = 'mmpose',
        radius: int = 3,
        thickness: int = 1,
        black_background: bool = False,
        **options: object,
    ) -> None:
        if skeleton_style not in ('mmpose', 'openpose'):
            raise ValueError(
                f"skeleton_style must be 'mmpose' or 'openpose', got {skeleton_style!r}"
            )
        for name, value in dict(options, radius=radius, thickness=thickness).items():
            if not isinstance(value, (int, float)):
                raise ValueError(f'{name} must be a number, got {value!r}')
        # each run its own, as settings of another run must not show in its pictures
        self.visualizer = copy.copy(visualizer)
        self.visualizer.radius, self.visualizer.line_width = radius, thickness
        self.metainfos = list(metainfos)
        self.skeleton_style = skeleton_style
        self.black_background = black_background
        self.show = bool(options.pop('show', False))
        self.wait_time = options.pop('wait_time', 0)
        self.options = options
        self._drawn_as: Optional[int] = None
        self.stopped = False

    def draw(
        self, image: np.ndarray, samples: Sequence[PoseDataSample], name: str, moves: bool = False
    ) -> np.ndarray:
        """Draw what each head has read.

        Args:
            image: (H, W, 3) uint8, BGR.
            samples: With ``pred_instances``, one for each head.
            name: Title of the window, if it is shown.
            moves: Whether it is a frame of a video, which is shown without waiting.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        drawn = np.ascontiguousarray(image[..., ::-1])
        if self.black_background:
            drawn = np.zeros_like(drawn)
        for number, sample in enumerate(samples):
            if self._drawn_as != number:
                metainfo = self.metainfos[number]
                self.visualizer.set_dataset_meta(metainfo, self.skeleton_style)
                self._drawn_as = number
            drawn = self.visualizer.add_datasample(
                name,
                drawn,
                sample,
                draw_gt=False,
                skeleton_style=self.skeleton_style,
                **self.options,
            )
            drawn = draw_ids(self.visualizer.get_image(), sample)
            if self.options.get('draw_heatmap') and drawn.shape == image.shape:
                # nobody has heatmaps; frames of a video must keep one size
                drawn = np.concatenate([drawn, image[..., ::-1]])
        if self.show:
            wait_time = 1e-5 if moves else self.wait_time  # 0 waits for a key
            self.visualizer.show(drawn, win_name=name, wait_time=wait_time)
            self.stopped |= moves and cv2.waitKey(1) & 0xFF == ESCAPE
        return drawn


def draw_ids(image: np.ndarray, sample: PoseDataSample) -> np.ndarray:
    """Write the ids of tracked people into their boxes, if there are any."""
    instances = sample.pred_instances
    if 'track_ids' not in instances or not len(instances):
        return image
    image = np.ascontiguousarray(image)
    for number, (left, top, _, _) in zip(instances.track_ids, instances.bboxes):
        # the outline first, to be seen on any background
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 0), 1)):
            cv2.putText(
                image,
                str(number),
                (int(left) + 2, int(top) + 14),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                color,
                thickness,
                cv2.LINE_AA,
            )
    return image
