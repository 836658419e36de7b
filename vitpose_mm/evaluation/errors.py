"""What kinds of error keypoints have.

After Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV
2017 (arXiv 1707.05388, section 3), and their code, coco-analyze.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from .protocol import SIZES, SimilarityEvaluation
from .similarities import ImagePeople, ImageSimilarities, keypoint_similarities

KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss')
GOOD, JITTER, INVERSION, SWAP, MISS = range(5)
RULES = ('own', 'nearest')
MATCH = 0.1  # least OKS of a detection and its person
NEAR, HUMAN = 0.5, 0.85  # least similarities of what is near, and as good as people annotate
OVERLAP = 0.1  # IoU of boxes above which people crowd each other
CROWDING = {'0': (0, 0), '1-2': (1, 2), '>= 3': (3, np.inf)}
NUM_LABELLED = ((0, 5), (5, 10), (10, 15), (15, 17))  # of 17, above and up to


@dataclass(frozen=True)
class KeypointErrors:
    """Kinds of error of the detections of an image, each compared with its match.

    Attributes:
        matches: Rows of the people whom detections were matched with, (D,), -1 for none.
        near_somebody: Whether detections have an OKS of ``MATCH`` with anybody, (D,).
        kinds: Index in ``KINDS``, (D, K), -1 where the match has no label or there is no match.
        own: Similarities to the match's same keypoints, (D, K).
        mistaken: The greatest to others that they may be mistaken for, (D, K).
    """

    matches: np.ndarray
    near_somebody: np.ndarray
    kinds: np.ndarray
    own: np.ndarray
    mistaken: np.ndarray

    def corrected(self, kind: int) -> np.ndarray:
        """Similarities to the match if one kind of error did not exist, (D, K).

        Jitter gets as near as people annotate, and a miss near; keypoints that were mistaken get
        as near to their own as they are to the others.
        """
        better = {JITTER: HUMAN, MISS: NEAR}.get(kind, self.mistaken)
        return np.where(self.kinds == kind, better, self.own)


def kinds_of_error(
    own: np.ndarray, mirrored: np.ndarray, others: np.ndarray, rule: str = 'own'
) -> np.ndarray:
    """Kinds of error of keypoints, of three arrays of one shape.

    A keypoint is good or jitters if it is near its own place. Otherwise it is near that of its
    counterpart on the other side of the body (inversion), or near either of another person (swap),
    whichever is nearer, or near none of these (miss).

    Args:
        own: Similarities to the same keypoint of the person.
        mirrored: To the keypoint's counterpart, 0 for those without.
        others: The greatest to the same keypoint or its counterpart of other people.
        rule: 'own', or 'nearest' as in coco-analyze, where a keypoint near its own place but nearer
            to another is inverted or swapped. The paper's words leave this open.

    Returns:
        Indices in ``KINDS``.
    """
    if rule not in RULES:
        raise ValueError(f'rule must be one of {RULES}, got {rule!r}')
    mistaken = np.maximum(mirrored, others)
    at_home = own >= (NEAR if rule == 'own' else np.maximum(NEAR, mistaken))
    kinds = np.where(mirrored >= others, INVERSION, SWAP)
    kinds = np.where(mistaken >= NEAR, kinds, MISS)
    return np.where(at_home, np.where(own >= HUMAN, GOOD, JITTER), kinds)


def match_people(
    images: Sequence[ImagePeople], similarities: Sequence[ImageSimilarities]
) -> list[np.ndarray]:
    """Match detections with people as COCO does, at an OKS of ``MATCH``.

    Returns:
        For each image the rows of people, (D,), -1 for detections of nobody.
    """
    objects = [each.objects(people.labelled) for people, each in zip(images, similarities)]
    return SimilarityEvaluation(images, objects, thresholds=[MATCH]).matches()


def find_errors(
    people: ImagePeople,
    similarities: ImageSimilarities,
    matches: np.ndarray,
    sigmas: Sequence[float],
    flip_indices: Sequence[int],
    rule: str = 'own',
) -> KeypointErrors:
    """Kinds of error of the detections of an image.

    Args:
        people: The image's people, of whom those in crowds, too, may be mistaken for others.
        similarities: Theirs with the detections.
        matches: Rows of the people whom detections were matched with, (D,), -1 for none.
        sigmas: Of the K keypoints.
        flip_indices: Each keypoint's counterpart on the other side, itself if it has none, (K,).
        rule: See :func:`kinds_of_error`.
    """
    flip = np.asarray(flip_indices)
    num_people, num_keypoints = people.labelled.shape
    if not num_people:
        nothing = np.zeros((len(matches), num_keypoints))
        nobody = np.zeros(len(matches), bool)
        return KeypointErrors(matches, nobody, nothing.astype(int) - 1, nothing, nothing)
    same = np.where(people.labelled, similarities.keypoints, 0)  # (D, G, K)
    crossed = keypoint_similarities(
        people.detections[:, None], people.keypoints[:, flip], people.areas, sigmas
    )
    is_paired = flip != np.arange(num_keypoints)
    crossed = np.where(people.labelled[:, flip] & is_paired, crossed, 0)
    rows = np.maximum(matches, 0)
    detections = np.arange(len(matches))
    own, mirrored = same[detections, rows], crossed[detections, rows]
    anybody = np.maximum(same, crossed)
    anybody[detections, rows] = 0
    others = anybody.max(1)
    kinds = kinds_of_error(own, mirrored, others, rule)
    compared = (matches >= 0)[:, None] & people.labelled[rows]
    return KeypointErrors(
        matches,
        (similarities.objects(people.labelled) >= MATCH).any(1),
        np.where(compared, kinds, -1),
        own,
        np.maximum(mirrored, others),
    )


@dataclass(frozen=True)
class PeopleErrors:
    """Kinds of error of all P people who are to be found.

    Attributes:
        kinds: Indices in ``KINDS``, (P, K), -1 without label and for people who were not found.
        found: Who was matched with a detection, (P,).
        areas: px^2, (P,).
        overlaps: Other people whose boxes overlap with theirs, (P,).
        num_labelled: Labelled keypoints, (P,).
    """

    kinds: np.ndarray
    found: np.ndarray
    areas: np.ndarray
    overlaps: np.ndarray
    num_labelled: np.ndarray

    def groups(self) -> dict[str, dict[str, np.ndarray]]:
        """Whom the groups of each split hold, (P,): by size, crowding and labelled keypoints."""
        num_keypoints = self.kinds.shape[1]
        steps = [(low * num_keypoints // 17, up * num_keypoints // 17) for low, up in NUM_LABELLED]
        small, large = (self.areas < SIZES['medium'][0]), (self.areas > SIZES['medium'][1])
        return {
            'size': dict(small=small, medium=~small & ~large, large=large),
            'crowding': {
                name: (self.overlaps >= low) & (self.overlaps <= up)
                for name, (low, up) in CROWDING.items()
            },
            'labelled keypoints': {
                f'{low + 1}-{up}': (self.num_labelled > low) & (self.num_labelled <= up)
                for low, up in steps
                if up > low
            },
        }

    def counts(self, chosen: Optional[np.ndarray] = None) -> np.ndarray:
        """How many keypoints are of each kind, (K, 5), of all people or the chosen ones, (P,)."""
        kinds = self.kinds if chosen is None else self.kinds[chosen]
        return np.stack([(kinds == kind).sum(0) for kind in range(len(KINDS))], axis=1)


def errors_of_people(
    images: Sequence[ImagePeople], errors: Sequence[KeypointErrors]
) -> PeopleErrors:
    """Gather the errors of all images by person."""
    kinds, found, overlaps = [], [], []
    for people, each in zip(images, errors):
        of_people = np.full(people.labelled.shape, -1)
        is_found = np.zeros(len(of_people), bool)
        has_match = each.matches >= 0
        of_people[each.matches[has_match]] = each.kinds[has_match]
        is_found[each.matches[has_match]] = True
        wanted = ~people.ignored
        kinds.append(of_people[wanted])
        found.append(is_found[wanted])
        overlaps.append(num_overlaps(people.boxes)[wanted])
    return PeopleErrors(
        np.concatenate(kinds),
        np.concatenate(found),
        np.concatenate([people.areas[~people.ignored] for people in images]),
        np.concatenate(overlaps),
        np.concatenate([people.labelled[~people.ignored].sum(1) for people in images]),
    )


def num_overlaps(boxes: np.ndarray, threshold: float = OVERLAP) -> np.ndarray:
    """How many others each of G boxes, (G, 4), overlaps with an IoU above ``threshold``, (G,)."""
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    common = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
    common = np.maximum(common, 0).prod(-1)
    areas = boxes[:, 2:].prod(-1)
    union = areas[:, None] + areas - common
    overlapping = common > threshold * union
    np.fill_diagonal(overlapping, False)
    return overlapping.sum(1)


def precision_without_errors(
    images: Sequence[ImagePeople],
    similarities: Sequence[ImageSimilarities],
    errors: Sequence[KeypointErrors],
) -> dict[str, Optional[float]]:
    """AP if one kind of error did not exist, by kind; None where nobody is left.

    Corrected keypoints become more similar to the person's; the detection's similarities to others
    stay. 'scores' ranks detections by their greatest OKS, 'background' leaves out those that are
    near nobody, 'not found' the people whom no detection was matched with.
    """
    objects = [each.objects(people.labelled) for people, each in zip(images, similarities)]
    result = {}
    for kind, name in list(enumerate(KINDS))[1:]:
        corrected = [
            _corrected_objects(people, values, each, kind)
            for people, values, each in zip(images, objects, errors)
        ]
        result[name] = SimilarityEvaluation(images, corrected).precision()
    best = [
        np.where(people.ignored, -1, values).max(1, initial=-1)
        for people, values in zip(images, objects)
    ]
    result['scores'] = SimilarityEvaluation(images, objects, scores=best).precision()
    result['background'] = SimilarityEvaluation(
        [_chosen_detections(people, each.near_somebody) for people, each in zip(images, errors)],
        [values[each.near_somebody] for values, each in zip(objects, errors)],
    ).precision()
    found = [
        np.isin(np.arange(len(people.ignored)), each.matches)
        for people, each in zip(images, errors)
    ]
    ignored = [people.ignored | ~each for people, each in zip(images, found)]
    result['not found'] = SimilarityEvaluation(images, objects, ignored).precision()
    # COCO's -1 is no figure to subtract from
    return {name: None if value < 0 else value for name, value in result.items()}


def _corrected_objects(
    people: ImagePeople, objects: np.ndarray, errors: KeypointErrors, kind: int
) -> np.ndarray:
    if not len(people.labelled):
        return objects
    labelled = people.labelled[errors.matches] & (errors.matches >= 0)[:, None]  # (D, K)
    (rows,) = np.nonzero(labelled.any(1))
    sums = (errors.corrected(kind) * labelled).sum(1)
    corrected = objects.copy()
    corrected[rows, errors.matches[rows]] = (sums / np.maximum(labelled.sum(1), 1))[rows]
    return corrected


def _chosen_detections(people: ImagePeople, chosen: np.ndarray) -> ImagePeople:
    fields = ('detections', 'scores', 'detection_areas', 'detection_categories')
    return replace(people, **{name: getattr(people, name)[chosen] for name in fields})
