"""InterHand2.6M, one hand at a time; mmpose 1.x reads pairs of hands only."""

import json
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import get_text, join_path
from mmengine.utils import is_abs
from mmpose.codecs.utils import camera_to_pixel
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.registry import DATASETS

NUM_JOINTS = 21
WRIST = 20
HANDS = ('right', 'left')  # the order of the joints in the annotations
MIN_VALID_JOINTS = 12
_FOCAL, _CENTRE, _POSITION, _ROTATION = 'focal', 'princpt', 'campos', 'camrot'


def project(joints_world: np.ndarray, camera: dict) -> np.ndarray:
    """Joints (K, 2) as a pinhole camera sees them, image px.

    Args:
        joints_world: (K, 3), mm, in the frame of the capture studio.
        camera: ``camrot`` (3, 3) and ``campos`` (3,), mm, of the camera, its ``focal`` length and
            principal point ``princpt`` (x, y), px.
    """
    rotation, position = np.array(camera[_ROTATION]), np.array(camera[_POSITION])
    joints_camera = (joints_world - position) @ rotation.T  # (K, 3), z forward
    return camera_to_pixel(joints_camera, *camera[_FOCAL], *camera[_CENTRE], shift=True)


def valid_joints(joint_valid: Sequence) -> np.ndarray:
    """Which of the joints of the right and the left hand count, 0 or 1, (2, 21).

    None of a hand whose wrist is invalid do, as in mmpose 0.x and InterHand2.6M's own code.

    Args:
        joint_valid: 42 numbers, first the right hand's.
    """
    valid = np.asarray(joint_valid, dtype=np.float32)
    if valid.size != len(HANDS) * NUM_JOINTS:
        raise ValueError(f'joint_valid has {valid.size} numbers instead of 42, 21 for each hand')
    valid = valid.reshape(len(HANDS), NUM_JOINTS).clip(max=1)
    return valid * valid[:, [WRIST]]


@DATASETS.register_module()
class InterHand2DSingleDataset(BaseCocoStyleDataset):
    """InterHand2.6M (Moon et al., ECCV 2020), 21 keypoints of each hand.

    The same samples as those of ``InterHand2DDataset`` in mmpose 0.x, on which ViTPose++ was
    evaluated: each hand with at least 12 valid joints, right ones before left ones, be it alone or
    in an interacting pair. Its box is the tightest about the valid joints, so let
    ``GetBBoxCenterScale`` have ``padding=1.5``, as the official code has. The keypoints are
    fingertips to knuckles, from the thumb to the little finger, and the wrist last.

    ``id`` of a sample is twice the annotation's, plus 1 for the left hand.

    Args:
        ann_file: ``InterHand2.6M_*_data.json``.
        camera_param_file: ``InterHand2.6M_*_camera.json``.
        joint_file: ``InterHand2.6M_*_joint_3d.json``.
        options: Arguments of mmpose's ``BaseCocoStyleDataset``. Every ``sample_interval``-th image
            is read. Detected boxes (``bbox_file``) are refused: mmpose's loader would not look at
            the hands.

    Raises:
        ValueError: A file is not named, is not JSON, or lacks something that another refers to.
        FileNotFoundError: A file is not there.
    """

    METAINFO: dict = dict(from_file='configs/_base_/datasets/interhand2d.py')

    def __init__(
        self,
        ann_file: str = '',
        camera_param_file: str = '',
        joint_file: str = '',
        **options,
    ) -> None:
        if options.get('bbox_file'):
            raise ValueError(
                f'bbox_file={options["bbox_file"]!r} is of no use here: the boxes are those of the '
                'annotated hands'
            )
        self.camera_param_file = camera_param_file
        self.joint_file = joint_file
        super().__init__(ann_file=ann_file, **options)

    def _join_prefix(self) -> None:
        super()._join_prefix()
        for name in ('camera_param_file', 'joint_file'):
            path = getattr(self, name)
            if path and self.data_root and not is_abs(path):
                setattr(self, name, join_path(self.data_root, path))

    def _load_annotations(self) -> tuple[list[dict], list[dict]]:
        content = self._read('ann_file')
        cameras, joints = self._read('camera_param_file'), self._read('joint_file')
        images = {
            image['id']: {
                **image,
                'img_id': image['id'],
                'img_path': join_path(self.data_prefix['img'], image['file_name']),
            }
            for image in self._entry(content, 'ann_file', 'images')[:: self.sample_interval]
        }
        known = {image['id'] for image in content['images']}
        hands = []
        for annotation in self._entry(content, 'ann_file', 'annotations'):
            if annotation['image_id'] not in known:
                raise ValueError(
                    f'annotation {annotation["id"]} of ann_file {self.ann_file} is of image '
                    f'{annotation["image_id"]}, which is not among the images'
                )
            if annotation['image_id'] in images:
                hands += self._hands(annotation, images[annotation['image_id']], cameras, joints)
        return hands, list(images.values())

    def _hands(self, annotation: dict, image: dict, cameras: dict, joints: dict) -> list[dict]:
        capture, frame, camera_name = (
            str(self._entry(image, 'ann_file', key)) for key in ('capture', 'frame_idx', 'camera')
        )
        camera = {
            key: self._entry(cameras, 'camera_param_file', capture, key, camera_name)
            for key in (_POSITION, _ROTATION, _FOCAL, _CENTRE)
        }
        joints_world = np.array(self._entry(joints, 'joint_file', capture, frame, 'world_coord'))
        if joints_world.shape != (len(HANDS) * NUM_JOINTS, 3):
            raise ValueError(
                f'world_coord of capture {capture}, frame {frame} in joint_file {self.joint_file} '
                f'has shape {joints_world.shape} instead of (42, 3)'
            )
        points = project(joints_world, camera).astype(np.float32)
        points = points.reshape(len(HANDS), NUM_JOINTS, 2)
        valid = valid_joints(self._entry(annotation, 'ann_file', 'joint_valid'))
        hands = []
        for index in np.flatnonzero(valid.sum(axis=1) >= MIN_VALID_JOINTS).tolist():
            seen = points[index, valid[index] > 0]
            box = np.concatenate([seen.min(axis=0), seen.max(axis=0)])  # left, top, right, bottom
            hands.append(
                {
                    'img_id': image['img_id'],
                    'img_path': image['img_path'],
                    'id': 2 * annotation['id'] + index,
                    'bbox': box[None],  # (1, 4)
                    'bbox_score': np.ones(1, dtype=np.float32),
                    'keypoints': points[[index]],  # (1, 21, 2)
                    'keypoints_visible': valid[[index]],  # (1, 21)
                    'num_keypoints': len(seen),
                    'iscrowd': annotation.get('iscrowd', 0),
                    'raw_ann_info': annotation,
                }
            )
        return hands

    def _read(self, argument: str) -> dict:
        path = getattr(self, argument)
        if not path:
            raise ValueError(f'{type(self).__name__} needs {argument}, the path of a JSON file')
        try:
            return json.loads(get_text(path))
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{argument} {path} does not exist') from error
        except ValueError as error:
            raise ValueError(f'{argument} {path} is not JSON: {error}') from error

    def _entry(self, content: dict, argument: str, *keys: str) -> object:
        for depth, key in enumerate(keys, start=1):
            if key not in content:
                name = '/'.join(keys[:depth])
                raise ValueError(f'{argument} {getattr(self, argument)} has no {name}')
            content = content[key]
        return content
