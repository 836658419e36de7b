"""APT-36K, video clips of animals; mmpose has its sibling AP-10K only."""

from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.registry import DATASETS

_GREEN, _ORANGE, _BLUE = [0, 255, 0], [255, 128, 0], [51, 153, 255]
_HEAD, _TRUNK, _LEFT, _RIGHT = [0, 0, 255], [0, 255, 0], [0, 255, 255], [6, 156, 250]

# As mmpose has them for AP-10K, whose meta information the official configs use for APT-36K.
_KEYPOINTS = (
    ('L_Eye', 'upper', _GREEN),
    ('R_Eye', 'upper', _ORANGE),
    ('Nose', 'upper', _BLUE),
    ('Neck', 'upper', _BLUE),
    ('Root of tail', 'lower', _BLUE),
    ('L_Shoulder', 'upper', _BLUE),
    ('L_Elbow', 'upper', _BLUE),
    ('L_F_Paw', 'upper', _GREEN),
    ('R_Shoulder', 'upper', _GREEN),
    ('R_Elbow', 'upper', _ORANGE),
    ('R_F_Paw', 'lower', _GREEN),
    ('L_Hip', 'lower', _ORANGE),
    ('L_Knee', 'lower', _ORANGE),
    ('L_B_Paw', 'lower', _GREEN),
    ('R_Hip', 'lower', _GREEN),
    ('R_Knee', 'lower', _GREEN),
    ('R_B_Paw', 'lower', _GREEN),
)
_LIMBS = (
    ('L_Eye', 'R_Eye', _HEAD),
    ('L_Eye', 'Nose', _HEAD),
    ('R_Eye', 'Nose', _HEAD),
    ('Nose', 'Neck', _TRUNK),
    ('Neck', 'Root of tail', _TRUNK),
    ('Neck', 'L_Shoulder', _LEFT),
    ('L_Shoulder', 'L_Elbow', _LEFT),
    ('L_Elbow', 'L_F_Paw', _LEFT),
    ('Neck', 'R_Shoulder', _RIGHT),
    ('R_Shoulder', 'R_Elbow', _RIGHT),
    ('R_Elbow', 'R_F_Paw', _RIGHT),
    ('Root of tail', 'L_Hip', _LEFT),
    ('L_Hip', 'L_Knee', _LEFT),
    ('L_Knee', 'L_B_Paw', _LEFT),
    ('Root of tail', 'R_Hip', _RIGHT),
    ('R_Hip', 'R_Knee', _RIGHT),
    ('R_Knee', 'R_B_Paw', _RIGHT),
)
_OTHER_SIDE = {'L_': 'R_', 'R_': 'L_'}


def _swap(name: str) -> str:
    side = _OTHER_SIDE.get(name[:2])
    return '' if side is None else side + name[2:]


@DATASETS.register_module()
class APT36KDataset(BaseCocoStyleDataset):
    """APT-36K (Yang et al., NeurIPS 2022), 17 keypoints in AP-10K's order.

    Reads the files that ``tools/convert_apt36k.py`` makes of the release; the arguments are
    mmpose's. Official configs read the same files as AP-10K, which gives the same samples under
    another ``dataset_name``.
    """

    METAINFO: dict = dict(
        dataset_name='apt36k',
        paper_info=dict(
            author='Yang, Yuxiang and Yang, Junjie and Xu, Yufei and Zhang, Jing and Lan, Long '
            'and Tao, Dacheng',
            title='APT-36K: A Large-scale Benchmark for Animal Pose Estimation and Tracking',
            container='Advances in Neural Information Processing Systems 35',
            year='2022',
            homepage='https://github.com/pandorgan/APT-36K',
        ),
        keypoint_info={
            index: dict(name=name, id=index, color=color, type=part, swap=_swap(name))
            for index, (name, part, color) in enumerate(_KEYPOINTS)
        },
        skeleton_info={
            index: dict(link=(start, end), id=index, color=color)
            for index, (start, end, color) in enumerate(_LIMBS)
        },
        joint_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.2, 1.5, 1.5, 1.0, 1.0, 1.2, 1.2,
                       1.5, 1.5],
        sigmas=[0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062,
                0.107, 0.087, 0.089, 0.107, 0.087, 0.089],
    )  # fmt: skip
