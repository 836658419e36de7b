"""Each fault planted into a set that is in order is found, counted, and nothing else is."""

import json
import shutil

import cv2
import numpy as np
import pytest
from little_set import HEIGHT, NAMES, TRAIN, VAL, WIDTH, LittleSet, make_annotations
from mmengine.config import Config

from vitpose_mm.preflight import check_config

FAULTS = []


def fault(kind: str, count: int, *words: str, severity: str = 'fault', times: int = 1):
    """Register a function that plants a fault: what must come of it, words of its text.

    ``times`` is how often it is told, as of training and of validation.
    """

    def register(plant):
        told = [(severity, kind)] * times
        FAULTS.append(pytest.param(plant, told, count, words, id=plant.__name__))
        return plant

    return register


def check(little: LittleSet) -> list:
    little.write_annotations()
    return check_config(Config(little.cfg), num_images=50, overlap_seconds=5)


def keypoints(annotation: dict) -> np.ndarray:
    return np.reshape(np.array(annotation['keypoints'], float), (-1, 3))


def change_keypoints(little: LittleSet, change) -> None:
    """Apply ``change(points (K, 3), annotation)`` to all people of the training set."""
    for annotation in little.train['annotations']:
        annotation['keypoints'] = change(keypoints(annotation), annotation).ravel().tolist()


def change_boxes(little: LittleSet, change) -> None:
    """Apply ``change(left, top, width, height)`` to all boxes of the training set."""
    for annotation in little.train['annotations']:
        annotation['bbox'] = [float(value) for value in change(*annotation['bbox'])]


def metainfo(little: LittleSet) -> dict:
    return little.cfg['train_dataloader']['dataset']['metainfo']


def both_metainfos(little: LittleSet) -> list[dict]:
    return [little.cfg[f'{side}_dataloader']['dataset']['metainfo'] for side in ('train', 'val')]


# --- files ---


@fault('annotation-file', 0, 'no file', 'train.json')
def no_annotation_file(little):
    little.train = None


@fault('annotation-file', 0, 'cut off')
def annotations_cut_off(little):
    little.train = json.dumps(little.train)[:-1000]


@fault('unreadable-annotations', 0, 'cannot be read')
def annotations_damaged(little):
    little.train = '{"images": [}'


@fault('not-coco', 0, "no list 'images'")
def annotations_of_another_format(little):
    little.train = {'people': little.train['annotations']}


@fault('not-coco', 0, "list 'annotations' is empty")
def no_annotations(little):
    little.train['annotations'] = []


@fault('missing-entries', TRAIN, "'width' in 24 of 24")
def no_sizes_of_images(little):
    for image in little.train['images']:
        del image['width']


@fault('images-missing', TRAIN, '24 of 24 images', 'images')
def wrong_folder_of_images(little):
    little.cfg['train_dataloader']['dataset']['data_prefix'] = dict(img='pictures/')


@fault('images-missing', 3, '3 of 24 images')
def some_images_missing(little):
    for annotation in little.train['annotations'][:3]:
        little.image(annotation['id']).unlink()


@fault('images-unreadable', 1, '1 of 24 images', 'cut off')
def image_cut_off(little):
    path = little.image(little.train['annotations'][5]['id'])
    path.write_bytes(path.read_bytes()[:-500])


@fault('images-of-other-size', TRAIN, '0.5 times', 'another size')
def images_resized(little):
    for annotation in little.train['annotations']:
        path = str(little.image(annotation['id']))
        cv2.imwrite(path, cv2.resize(cv2.imread(path), (WIDTH // 2, HEIGHT // 2)))


@fault('images-turned', TRAIN, 'EXIF', 'width and height exchanged')
def images_turned(little):
    for annotation in little.train['annotations']:
        path = str(little.image(annotation['id']))
        cv2.imwrite(path, cv2.rotate(cv2.imread(path), cv2.ROTATE_90_CLOCKWISE))


# --- boxes and keypoints ---


@fault('boxes-as-corners', TRAIN, '(left, top, right, bottom)')
def boxes_as_corners(little):
    change_boxes(little, lambda x, y, w, h: (x, y, x + w, y + h))


@fault('boxes-as-centers', TRAIN, '(centre x, centre y, width, height)')
def boxes_as_centers(little):
    change_boxes(little, lambda x, y, w, h: (x + w / 2, y + h / 2, w, h))


@fault('boxes-xy-exchanged', TRAIN, '(top, left, height, width)')
def boxes_exchanged(little):
    change_boxes(little, lambda x, y, w, h: (y, x, h, w))


@fault('normalised-boxes', TRAIN, 'boxes of 24 of 24', 'normalised')
def boxes_normalised(little):
    change_boxes(little, lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT))


@fault('normalised-keypoints', TRAIN, 'keypoints of 24 of 24', 'normalised')
def keypoints_normalised(little):
    change_keypoints(little, lambda points, _: points / (WIDTH, HEIGHT, 1))


@fault('keypoints-relative-to-box', TRAIN, 'left upper corner')
def keypoints_in_boxes(little):
    change_keypoints(little, lambda points, a: points - (*a['bbox'][:2], 0))


@fault('keypoints-xy-exchanged', TRAIN, '(y, x)')
def keypoints_exchanged(little):
    change_keypoints(little, lambda points, _: points[:, [1, 0, 2]])


@fault('xy-exchanged', TRAIN, 'exchanged')
def all_exchanged(little):
    keypoints_exchanged(little)
    boxes_exchanged(little)


@fault('keypoints-outside-image', 12, '12 of 120', 'outside of their image')
def keypoints_outside_images(little):
    for annotation in little.train['annotations'][:12]:
        annotation['keypoints'][0] = WIDTH + 20.0
        annotation['bbox'][2] = WIDTH + 20 - annotation['bbox'][0]


@fault('keypoints-outside-box', 24, 'half a box')
def keypoints_far_from_boxes(little):
    for annotation in little.train['annotations']:
        left, _, width, _ = annotation['bbox']
        annotation['keypoints'][0] = WIDTH - 1 if left + width / 2 < WIDTH / 2 else 0


@fault('keypoints-in-one-cell', TRAIN, 'one pixel of the heatmap')
def keypoints_in_a_point(little):
    change_keypoints(
        little, lambda p, _: np.concatenate([p[:1, :2] + p[:, :2] * 0.001, p[:, 2:]], 1)
    )


@fault('box-without-area', 4, 'without area')
def boxes_without_area(little):
    for annotation in little.train['annotations'][:4]:
        annotation['bbox'][2] = 0


@fault('not-finite', 1, 'NaN')
def nan(little):
    little.train['annotations'][3]['keypoints'][0] = float('nan')


@fault('number-of-keypoints', TRAIN, '4 in 24', 'the 5 of')
def too_few_keypoints(little):
    for annotation in little.train['annotations']:
        del annotation['keypoints'][-3:]


@fault('number-of-keypoints', 2, '3.33333 in 2')
def keypoints_without_visibility(little):
    for annotation in little.train['annotations'][:2]:
        del annotation['keypoints'][2::3]


# --- visibility ---


@fault('visibility-zero', TRAIN, '24 of 24', '0 are trained on', 'num_keypoints 0: 24')
def visibility_zero(little):
    change_keypoints(little, lambda points, _: points * (1, 1, 0))
    for annotation in little.train['annotations']:
        annotation['num_keypoints'] = 0


@fault('visibility-zero', TRAIN, '24 of 24', '24 are trained on')
def visibility_zero_without_number(little):
    change_keypoints(little, lambda points, _: points * (1, 1, 0))
    for annotation in little.train['annotations']:
        del annotation['num_keypoints']


@fault('num-keypoints-zero', TRAIN, "'num_keypoints' 0")
def num_keypoints_zero(little):
    for annotation in little.train['annotations']:
        annotation['num_keypoints'] = 0


@fault('visibility-fractional', TRAIN, '0.93', 'confidence')
def confidences(little):
    change_keypoints(little, lambda points, _: points * (1, 1, 0.465))


@fault('visibility-negative', 1, 'negative')
def negative_visibility(little):
    little.train['annotations'][0]['keypoints'][2] = -1


@fault('visibility-boolean', TRAIN, 'true and false', severity='warning')
def boolean_visibility(little):
    for annotation in little.train['annotations']:
        annotation['keypoints'][2::3] = [True] * 5


@fault('labelled-at-origin', 24, '24 of 120', '(0, 0)')
def unlabelled_as_labelled(little):
    # as of a tool that writes 0, 0, 2 for what nobody labelled; boxes hold the corner, too
    for annotation in little.train['annotations']:
        left, top, width, height = annotation['bbox']
        annotation['bbox'] = [0, 0, left + width, top + height]
        annotation['keypoints'][:3] = [0, 0, 2]


@fault('never-labelled', 1, 'right_foot')
def keypoint_never_labelled(little):
    for annotation in little.train['annotations']:
        annotation['keypoints'][-3:] = [0, 0, 0]


@fault('nobody', TRAIN, 'iscrowd: 24')
def all_crowds(little):
    for annotation in little.train['annotations']:
        annotation['iscrowd'] = 1


@fault('nobody', VAL, 'iscrowd: 20')
def nobody_to_validate(little):
    for annotation in little.val['annotations']:
        annotation['iscrowd'] = 1


# --- ids and categories ---


@fault('annotation-ids-twice', 1, 'several annotations', '1')
def annotation_id_twice(little):
    little.train['annotations'][1]['id'] = little.train['annotations'][0]['id']


@fault('image-ids-twice', 1, 'several images')
def image_id_twice(little):
    little.train['images'].append(dict(little.train['images'][0]))


@fault('images-not-in-file', 5, '5 of 24')
def images_not_in_file(little):
    del little.train['images'][:5]


@fault('ids-not-numbers', TRAIN, 'no whole numbers')
def ids_as_text(little):
    for image in little.train['images']:
        image['id'] = str(image['id'])
    for annotation in little.train['annotations']:
        annotation['image_id'] = str(annotation['image_id'])


@fault('unknown-category', VAL, 'AP is 0')
def unknown_category(little):
    for annotation in little.val['annotations']:
        annotation['category_id'] = 3


@fault('several-categories', 2, 'person 18, dog 6', severity='warning')
def several_categories(little):
    little.train['categories'].append(dict(id=2, name='dog', keypoints=[]))
    for annotation in little.train['annotations'][18:]:
        annotation['category_id'] = 2


@fault('same-person-twice', 6, '6 of 30')
def same_people_twice(little):
    people = little.train['annotations']
    people += [dict(person, id=person['id'] + 5000) for person in people[:6]]


# --- meta information ---


@fault('keypoint-order', 2, 'another order', 'left_hand is 1 here and 2 there')
def keypoints_in_another_order(little):
    names = [NAMES[0], NAMES[2], NAMES[1], *NAMES[3:]]
    little.train['categories'][0]['keypoints'] = names


@fault('flip-pairs-not-mutual', 1, 'right_hand -> left_hand -> left_hand')
def flip_pairs_one_way(little):
    metainfo(little)['keypoint_info'][1]['swap'] = 'left_hand'


@fault('flip-pairs-against-names', 2, 'left_hand with left_hand')
def left_with_itself(little):
    for number in (1, 2):
        metainfo(little)['keypoint_info'][number]['swap'] = ''


@fault('flip-pairs-against-names', 4, 'left_hand with right_foot')
def hands_with_feet(little):
    for number, other in ((1, 4), (4, 1), (2, 3), (3, 2)):
        metainfo(little)['keypoint_info'][number]['swap'] = NAMES[other]


@fault('swap-unknown', 1, 'left_hand with rigth_hand')
def swap_misspelt(little):
    metainfo(little)['keypoint_info'][1]['swap'] = 'rigth_hand'


@fault('number-of-sigmas', 0, '17 sigmas for 5')
def sigmas_of_another_set(little):
    metainfo(little)['sigmas'] = [0.05] * 17


@fault('sigmas-not-positive', 1, 'not positive')
def sigma_zero(little):
    metainfo(little)['sigmas'] = [0.05] * 4 + [0.0]


# --- evaluation ---


@fault('area-missing', VAL, "no 'area'")
def no_areas(little):
    for annotation in little.val['annotations']:
        del annotation['area']


@fault('area-too-small', VAL, 'OKS divides by it')
def areas_zero(little):
    for annotation in little.val['annotations']:
        annotation['area'] = 0


@fault('iscrowd-missing', VAL, 'iscrowd', severity='warning')
def no_iscrowd(little):
    for annotation in little.val['annotations']:
        del annotation['iscrowd']


@fault('categories-missing', 0, 'evaluation stops')
def no_categories(little):
    del little.val['categories']


@fault('evaluator-file', 0, 'train.json', 'another')
def evaluator_of_another_file(little):
    little.cfg['val_evaluator']['ann_file'] = str(little.folder / 'train.json')


@fault('same-images', VAL, '20 of 20 validation images', 'the same file')
def validated_on_training_images(little):
    little.val = dict(little.train, annotations=little.train['annotations'][:VAL])


@fault('same-images', 2, '2 of 20', 'same content')
def copies_under_other_names(little):
    for person, other in list(zip(little.train['annotations'], little.val['annotations']))[:2]:
        shutil.copy(little.image(person['id']), little.image(other['id']))


@fault('same-images', 3, '3 of 20', 'by its look')
def enlarged_copies(little):
    for person, other in list(zip(little.train['annotations'], little.val['annotations']))[:3]:
        image = cv2.imread(str(little.image(person['id'])))
        blurred = cv2.GaussianBlur(image, (3, 3), 0)
        cv2.imwrite(str(little.image(other['id'])), blurred)


# --- schedule ---


@fault('learning-rate', 0, '16 times too large', 'lr=6.25e-05', '--auto-scale-lr')
def learning_rate_for_more(little):
    little.cfg['auto_scale_lr']['base_batch_size'] = 64


@fault('learning-rate', 0, '4 times too small', severity='warning')
def learning_rate_for_fewer(little):
    little.cfg['optim_wrapper']['accumulative_counts'] = 4


@fault('warm-up', 0, '600 steps', 'training after 600')
def warm_up_all_along(little):
    little.cfg['param_scheduler'][0]['end'] = 600


@fault('warm-up', 0, 'a single step', 'stays at 0.001')
def warm_up_of_one_step(little):
    little.cfg['param_scheduler'][0].update(begin=0, end=1, start_factor=0.001)


@fault('milestones', 1, '[110]', severity='warning')
def milestone_too_late(little):
    little.cfg['param_scheduler'][1]['milestones'] = [80, 110]


@fault('batch-larger-than-data', 0, 'no step at all')
def batch_dropped(little):
    little.cfg['train_dataloader'].update(batch_size=32, drop_last=True)
    little.cfg['auto_scale_lr']['base_batch_size'] = 32


@fault('few-steps', 60, '60 steps', severity='warning')
def few_steps(little):
    little.cfg['train_cfg']['max_epochs'] = 10
    little.cfg['param_scheduler'] = []


# --- model ---


@fault('heatmap-size', 0, '12 x 16', '24 x 32')
def heatmaps_of_another_size(little):
    little.cfg['model']['head']['decoder']['heatmap_size'] = (24, 32)


@fault('data-and-model', 0, 'use_udp=False', 'BatchedUDPHeatmap')
def crop_of_another_codec(little):
    pipeline = little.cfg['train_dataloader']['dataset']['pipeline']
    pipeline[-2] = dict(pipeline[-2], use_udp=False)


@fault('data-and-model', 0, '5 keypoints', 'out_channels is 17', times=2)
def head_for_other_keypoints(little):
    little.cfg['model']['head']['out_channels'] = 17


@fault('checkpoint-missing', 0, 'model.backbone.init_cfg.checkpoint', 'no file')
def no_weights(little):
    little.cfg['model']['backbone']['init_cfg']['checkpoint'] = 'gone.pth'


@fault('checkpoint-missing', 0, 'load_from', 'no file')
def nothing_to_load_from(little):
    little.cfg['load_from'] = 'gone.pth'


@fault('random-weights', TRAIN, '24 people', severity='warning')
def random_weights(little):
    del little.cfg['model']['backbone']['init_cfg']


@fault('model-not-built', 0, 'ViTT')
def unknown_backbone(little):
    little.cfg['model']['backbone']['type'] = 'ViTT'


# --- samples ---


@fault('pipeline', TRAIN, 'in TopdownAffine, KeyError', 'cannot be made')
def pipeline_without_boxes(little):
    del little.cfg['train_dataloader']['dataset']['pipeline'][2:5]


@fault('targets-lost', 0, 'outside of their crop')
def crops_far_off(little):
    pipeline = little.cfg['train_dataloader']['dataset']['pipeline']
    pipeline[4].update(scale_factor=(0.1, 0.15), scale_prob=1.0)


@pytest.fixture
def little(tmp_path) -> LittleSet:
    return LittleSet(tmp_path / 'set')


def test_nothing_is_found_in_a_good_set(little):
    assert check(little) == []


@pytest.mark.parametrize(('plant', 'expected', 'count', 'words'), FAULTS)
def test_planted_fault_is_found(plant, expected, count, words, little):
    plant(little)
    findings = check(little)
    told = [(each.severity, each.kind) for each in findings]
    assert told == expected, [each.message for each in findings]
    finding = findings[0]
    text = ' '.join([finding.message, finding.advice, *finding.examples])
    for word in words:
        assert word in text
    if count:
        assert finding.count == count
    assert finding.where
    assert finding.advice


def test_faults_of_several_parts_are_found_together(little):
    little.val = '{'
    keypoints_exchanged(little)
    learning_rate_for_more(little)
    no_weights(little)
    kinds = {each.kind for each in check(little)}
    assert kinds == {
        'keypoints-xy-exchanged',
        'annotation-file',
        'learning-rate',
        'checkpoint-missing',
    }


def test_few_odd_people_are_a_warning_or_nothing():
    """Shares of a few people say nothing about how a file was made."""
    from vitpose_mm.preflight.coco_file import read_people
    from vitpose_mm.preflight.geometry import check_geometry

    content = make_annotations(10, seed=3)
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['bbox'] = [x, y, x + w, y + h]
    assert all(each.severity == 'warning' for each in check_geometry(read_people(content)))
