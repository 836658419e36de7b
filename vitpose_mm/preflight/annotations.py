"""Labels of people in an annotation file: left out, visibility, numbers, the same twice."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

import numpy as np

from .coco_file import People, example, images_by_id, keypoints_of
from .findings import LEAST_PEOPLE, NUM_EXAMPLES, Finding, severity_by_share

FULL_VISIBILITIES = (0, 1, 2)


def left_out_reason(annotation: Mapping, image: Optional[Mapping]) -> Optional[str]:
    """Why mmpose's ``BaseCocoStyleDataset`` takes no sample of an annotation; None if it does."""
    if image is None:
        return 'image not in the file'
    if annotation.get('bbox') is None or annotation.get('keypoints') is None:
        return 'no box' if annotation.get('bbox') is None else 'no keypoints'
    if annotation.get('iscrowd'):
        return 'iscrowd'
    keypoints = annotation['keypoints']
    if annotation.get('num_keypoints') == 0:
        return 'num_keypoints 0'
    left, top, width, height = annotation['bbox']
    for start, length, limit in (
        (left, width, image['width'] - 1),
        (top, height, image['height'] - 1),
    ):
        if min(max(start + length, 0), limit) <= min(max(start, 0), limit):
            return 'box outside of the image or without area'
    if max(keypoints[0::3] + keypoints[1::3], default=0) <= 0:
        return 'no keypoint has a place'
    return None


def left_out(content: Mapping) -> dict[Optional[str], list[dict]]:
    """Annotations by why training leaves them out; those that it uses by None."""
    images, found = images_by_id(content), defaultdict(list)
    for annotation in content['annotations']:
        try:
            reason = left_out_reason(annotation, images.get(annotation.get('image_id')))
        except (TypeError, ValueError, KeyError):
            reason = 'not readable'
        found[reason].append(annotation)
    return found


def check_left_out(content: Mapping) -> Iterator[Finding]:
    """Labelled people that training leaves out without a word, and nobody at all being left."""
    images = images_by_id(content)
    annotations, by_reason = content['annotations'], left_out(content)
    num_used = len(by_reason[None])
    reasons = ', '.join(f'{reason}: {len(found)}' for reason, found in by_reason.items() if reason)
    unlabelled = [a for a in annotations if _has_coordinates(a) and not _num_labelled(a)]
    severity = severity_by_share(len(unlabelled), len(annotations), 0.5, 0.01)
    if severity is not None:
        yield Finding(
            severity,
            'visibility-zero',
            f'{len(unlabelled)} of {len(annotations)} annotations have coordinates, but a '
            'visibility of 0 throughout, which means "not labelled": they are left out or teach '
            f'nothing. {num_used} are trained on (left out: {reasons or "none"}).',
            "Write 2 (visible) or 1 (occluded) as every third number of 'keypoints' of labelled "
            "points, and their number as 'num_keypoints'.",
            count=len(unlabelled),
            examples=_examples(unlabelled, images),
        )
        return
    silent = [
        a
        for a in annotations
        if a.get('num_keypoints') == 0 and _num_labelled(a) and images.get(a.get('image_id'))
    ]
    # CrowdPose does not count occluded keypoints, so that a few are left out there
    severity = severity_by_share(len(silent), len(annotations), 0.5, 0.01)
    if severity is not None and len(annotations) >= LEAST_PEOPLE:
        yield Finding(
            severity,
            'num-keypoints-zero',
            f'{len(silent)} of {len(annotations)} annotations have labelled keypoints, but '
            f"'num_keypoints' 0: they are left out. {num_used} are trained on (left out: "
            f'{reasons}).',
            "Let 'num_keypoints' be the number of keypoints with a visibility above 0.",
            count=len(silent),
            examples=_examples(silent, images),
        )
        return
    reason = 'box outside of the image or without area'
    severity = severity_by_share(len(by_reason[reason]), len(annotations), 0.05, 0.001)
    if severity is not None:
        found = by_reason[reason]
        yield Finding(
            severity,
            'box-without-area',
            f'{len(found)} of {len(annotations)} annotations have a box without area, or outside '
            'of their image: they are left out.',
            "'bbox' must be (left, top, width, height) in px of the image.",
            count=len(found),
            examples=_examples(found, images),
        )
    without = len(by_reason['no box']) + len(by_reason['no keypoints'])
    if without and without >= 0.5 * len(annotations):
        yield Finding(
            'fault' if without == len(annotations) else 'warning',
            'no-box-or-keypoints',
            f"{without} of {len(annotations)} annotations have no 'bbox' or no 'keypoints' (left "
            f'out: {reasons}).',
            "People need both; make 'bbox' from the keypoints where there is none.",
            count=without,
        )
    elif not num_used:
        yield Finding(
            'fault',
            'nobody',
            f'None of {len(annotations)} annotations can be used (left out: {reasons}).',
            "People need 'bbox' and 'keypoints', 'iscrowd' 0 and a 'num_keypoints' above 0.",
            count=len(annotations),
            examples=_examples(annotations, images),
        )


def check_numbers(
    content: Mapping, num_keypoints: Optional[int], whole_body: bool
) -> Iterator[Finding]:
    """Numbers of keypoints that are not those of the meta information, and what is no number."""
    images, odd, bad = images_by_id(content), {}, []
    for annotation in content['annotations']:
        keypoints = keypoints_of(annotation, whole_body)
        if not keypoints or annotation.get('iscrowd'):
            continue
        if len(keypoints) % 3 or (num_keypoints and len(keypoints) != 3 * num_keypoints):
            odd.setdefault(len(keypoints), []).append(annotation)
        box = annotation.get('bbox')
        if not _all_finite([*keypoints, *(box if isinstance(box, list) else ())]):
            bad.append(annotation)
    if odd:
        found = [annotation for group in odd.values() for annotation in group]
        lengths = ', '.join(
            f'{length / 3:g} in {len(group)}' for length, group in sorted(odd.items())
        )
        yield Finding(
            'fault',
            'number-of-keypoints',
            f'Annotations have other numbers of keypoints than the {num_keypoints or "usual"} of '
            f"the meta information: {lengths} ('keypoints' holds three numbers for each).",
            'Let metainfo of the data set describe the keypoints of this file, in its order.',
            count=len(found),
            examples=_examples(found, images),
        )
    if bad:
        yield Finding(
            'fault',
            'not-finite',
            f'{len(bad)} annotations hold NaN, infinity or no number in their box or keypoints: '
            'the loss would become NaN.',
            'Write (0, 0, 0) for keypoints that are not labelled, and take out people without box.',
            count=len(bad),
            examples=_examples(bad, images),
        )


def check_visibilities(people: People, names: Optional[list[str]] = None) -> Iterator[Finding]:
    """Visibilities other than 0, 1 and 2, keypoints at (0, 0), and those that nobody has."""
    visible = people.keypoints[..., 2]
    odd = ~np.isin(visible, FULL_VISIBILITIES) & np.isfinite(visible)
    partial = odd & (visible > 0) & (visible < 2)
    for kind, chosen, severity, what, advice in (
        (
            'visibility-negative',
            odd & (visible < 0),
            'fault',
            'a negative visibility',
            'Write 0 for keypoints that are not labelled.',
        ),
        (
            'visibility-fractional',
            partial,
            'fault',
            'a visibility such as a confidence, '
            'not 0, 1 or 2: below 0.5 the model learns that there is nothing',
            'Write 2 (visible), 1 (occluded) or 0 (not labelled); leave doubtful points out by 0.',
        ),
        (
            'visibility-above-2',
            odd & (visible > 2),
            'warning',
            'a visibility above 2, which counts as labelled',
            'Write 2 (visible), 1 (occluded) or 0 (not labelled).',
        ),
    ):
        if chosen.any():
            first = visible[chosen][:NUM_EXAMPLES].tolist()
            yield Finding(
                severity,
                kind,
                f'{chosen.sum()} keypoints of {chosen.any(1).sum()} people have {what} '
                f'(such as {", ".join(f"{value:g}" for value in first)}).',
                advice,
                count=int(chosen.any(1).sum()),
                examples=people.examples(chosen.any(1)),
            )
    booleans = np.array(
        [any(isinstance(v, bool) for v in a['keypoints'][2::3]) for a in people.annotations], bool
    )
    if booleans.any():
        yield Finding(
            'warning',
            'visibility-boolean',
            f'{booleans.sum()} people have true and false as visibilities, which count as 1 '
            '(labelled, occluded) and 0 (not labelled).',
            'If false means occluded, write 1 for it and 2 for true.',
            count=int(booleans.sum()),
            examples=people.examples(booleans),
        )
    labelled = people.labelled
    zero = labelled & (people.keypoints[..., :2] == 0).all(-1)
    severity = severity_by_share(zero.sum(), labelled.sum(), fault_from=0.01)
    if severity is not None:
        yield Finding(
            severity,
            'labelled-at-origin',
            f'{zero.sum()} of {labelled.sum()} labelled keypoints lie at exactly (0, 0), the '
            'corner of the image: unlabelled ones, surely.',
            'Write visibility 0 for them.',
            count=int(zero.sum()),
            examples=people.examples(zero.any(1)),
        )
    never = np.flatnonzero(~labelled.any(0))
    if len(never) and labelled.any() and labelled.any(1).sum() >= LEAST_PEOPLE:
        called = [names[i] if names and i < len(names) else f'number {i}' for i in never]
        yield Finding(
            'fault',
            'never-labelled',
            f'Of {len(people)} people none has these keypoints labelled: '
            f'{", ".join(called[:10])}. They will not be learned.',
            'Take them out of metainfo and head, or look why the export lacks them.',
            count=len(never),
        )


def check_twins(people: People) -> Iterator[Finding]:
    """The same person annotated twice: image, box and labelled keypoints are equal."""
    seen, twins, has_labels = {}, np.zeros(len(people), bool), people.labelled.any(1)
    for index, annotation in enumerate(people.annotations):
        if has_labels[index]:
            place = (annotation['image_id'], people.boxes[index].tobytes())
            twins[index] = (
                seen.setdefault((*place, people.keypoints[index].tobytes()), index) != index
            )
    severity = severity_by_share(twins.sum(), len(people), fault_from=0.1)
    if severity is not None:
        yield Finding(
            severity,
            'same-person-twice',
            f'{twins.sum()} of {len(people)} people are annotated twice, with the same box and '
            'keypoints. In validation each second one counts as not found.',
            'Take one of each out.',
            count=int(twins.sum()),
            examples=people.examples(twins),
        )


def _all_finite(values: list) -> bool:
    try:
        return all(map(math.isfinite, values))
    except TypeError:  # no numbers
        return False


def _num_positive(values: Iterable) -> int:
    return sum(isinstance(value, (int, float)) and value > 0 for value in values)


def _num_labelled(annotation: Mapping) -> int:
    return _num_positive((annotation.get('keypoints') or [])[2::3])


def _has_coordinates(annotation: Mapping) -> bool:
    keypoints = annotation.get('keypoints') or []
    return _num_positive(keypoints[0::3] + keypoints[1::3]) > 0


def _examples(annotations: list, images: Mapping) -> tuple[str, ...]:
    return tuple(example(a, images.get(a.get('image_id'))) for a in annotations[:NUM_EXAMPLES])
