"""All figures of a report."""

from collections.abc import Sequence

import numpy as np

from .errors import (
    HUMAN,
    KINDS,
    MATCH,
    NEAR,
    OVERLAP,
    KeypointErrors,
    PeopleErrors,
    errors_of_people,
    find_errors,
    match_people,
    precision_without_errors,
)
from .per_keypoint import Readings, keypoint_precisions, read_people
from .protocol import ALL, SIZES, SimilarityEvaluation
from .similarities import ImagePeople, similarities_of

PCK_THRESHOLDS = (0.1, 0.2)


def analyse(
    images: Sequence[ImagePeople],
    names: Sequence[str],
    sigmas: Sequence[float],
    flip_indices: Sequence[int],
    pck_thresholds: Sequence[float] = PCK_THRESHOLDS,
    rule: str = 'own',
) -> dict[str, object]:
    """Figures of the people of a data set, as a report shows and JSON takes them.

    Args:
        images: All images, those without detections, too.
        names: Of the K keypoints.
        sigmas: Of the keypoints, see
            :func:`~vitpose_mm.evaluation.similarities.keypoint_similarities`.
        flip_indices: Each keypoint's counterpart on the other side, itself if it has none, (K,).
        pck_thresholds: In longer sides of people's boxes.
        rule: What inversions and swaps are, see
            :func:`~vitpose_mm.evaluation.errors.kinds_of_error`.

    Raises:
        ValueError: Nobody is to be found.
    """
    if not any((~people.ignored).any() for people in images):
        raise ValueError(f'nobody in {len(images)} images has labelled keypoints to compare with')
    similarities = [similarities_of(people, sigmas) for people in images]
    matches = match_people(images, similarities)
    errors = [
        find_errors(people, each, rows, sigmas, flip_indices, rule)
        for people, each, rows in zip(images, similarities, matches)
    ]
    readings = read_people(images, matches, sigmas)
    of_people = errors_of_people(images, errors)
    objects = [each.objects(people.labelled) for people, each in zip(images, similarities)]
    evaluation = SimilarityEvaluation(images, objects, areas={**ALL, **SIZES})
    by_keypoint = [keypoint_precisions(images, similarities, index) for index in range(len(names))]
    return {
        'images': len(images),
        'people': len(of_people.found),
        'detections': _detections(errors),
        'all': {
            **evaluation.summary(),
            'AP (M)': evaluation.precision('medium'),
            'AP (L)': evaluation.precision('large'),
            'AR (M)': evaluation.recall('medium'),
            'AR (L)': evaluation.recall('large'),
            'OKS': readings.mean_oks(),
            **{f'PCK@{each:g}': _mean(readings.correct(each)) for each in pck_thresholds},
            'found': float(of_people.found.mean()),
            **_shares(of_people.counts().sum(0)),
        },
        'keypoints': _keypoint_rows(names, by_keypoint, readings, of_people, pck_thresholds),
        'AP without': precision_without_errors(images, similarities, errors),
        'groups': _group_rows(images, objects, evaluation, of_people),
        'definitions': dict(
            match=MATCH,
            near=NEAR,
            good=HUMAN,
            overlap=OVERLAP,
            rule=rule,
            sigmas=[round(float(each), 6) for each in sigmas],
        ),
    }


def _keypoint_rows(
    names: Sequence[str],
    precisions: Sequence[dict[str, float]],
    readings: Readings,
    errors: PeopleErrors,
    pck_thresholds: Sequence[float],
) -> dict[str, dict[str, object]]:
    near, counts = readings.mean_similarities(), errors.counts()
    correct = {f'PCK@{each:g}': readings.correct(each) for each in pck_thresholds}
    return {
        name: {
            'people': int(readings.labelled[:, index].sum()),
            **precisions[index],
            'OKS': _number(near[index]),
            **{key: _number(values[index]) for key, values in correct.items()},
            **_shares(counts[index]),
        }
        for index, name in enumerate(names)
    }


def _group_rows(
    images: Sequence[ImagePeople],
    objects: Sequence[np.ndarray],
    evaluation: SimilarityEvaluation,
    errors: PeopleErrors,
) -> dict[str, dict[str, dict[str, object]]]:
    ends = np.cumsum([(~people.ignored).sum() for people in images])[:-1]

    def precision(chosen: np.ndarray) -> float:
        ignored = []
        for people, among in zip(images, np.split(chosen, ends)):
            ignored.append(people.ignored.copy())
            ignored[-1][~people.ignored] = ~among
        return SimilarityEvaluation(images, objects, ignored).precision()

    return {
        split: {
            name: {
                'people': int(chosen.sum()),
                'AP': evaluation.precision(name) if split == 'size' else precision(chosen),
                'found': _mean(errors.found[chosen]),
                **_shares(errors.counts(chosen).sum(0)),
            }
            for name, chosen in groups.items()
        }
        for split, groups in errors.groups().items()
    }


def _detections(errors: Sequence[KeypointErrors]) -> dict[str, int]:
    matched = np.concatenate([each.matches >= 0 for each in errors])
    near = np.concatenate([each.near_somebody for each in errors])
    return dict(
        matched=int(matched.sum()),
        duplicates=int((near & ~matched).sum()),
        background=int((~near & ~matched).sum()),
    )


def _shares(counts: np.ndarray) -> dict[str, object]:
    total = counts.sum()
    return {kind: _number(each / total if total else np.nan) for kind, each in zip(KINDS, counts)}


def _mean(values: np.ndarray) -> object:
    values = values[~np.isnan(values)] if values.dtype.kind == 'f' else values
    return float(values.mean()) if values.size else None


def _number(value: float) -> object:
    """None in place of NaN, which JSON does not know."""
    return None if np.isnan(value) else float(value)
