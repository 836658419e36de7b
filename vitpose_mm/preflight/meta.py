"""Meta information of a data set: keypoints, their flip pairs, sigmas and names."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

import numpy as np
from mmengine.config import Config

from vitpose_mm.own_data.meta import pair_names, words_of

from .findings import Finding

REQUIRED = ('dataset_name', 'keypoint_info', 'skeleton_info', 'joint_weights', 'sigmas')
SHORT = {'l': 'left', 'r': 'right', 'f': 'front', 'b': 'back'}
ADVICE_SWAP = "Let 'swap' of each left keypoint name the right one, and the other way round."


def words(name: str) -> tuple[str, ...]:
    """The words of a keypoint's name: 'Left Eye', 'left_eye', 'leftEye', 'L_Eye' are the same."""
    return tuple(SHORT.get(word, word) for word in words_of(str(name)))


def sides_of(names: Sequence[str]) -> list[Optional[str]]:
    """'left' or 'right' for each keypoint, None where its name tells neither."""
    try:
        return [joint.side or None for joint in pair_names(names)[1]]
    except ValueError:  # names that differ in how they are written alone
        return [None] * len(names)


def read_metainfo(metainfo: Mapping) -> Optional[Mapping]:
    """Meta information as data sets have it, read from its ``from_file`` if it has one.

    None where there is no such file; mmpose looks for one of its own of this name then.
    """
    path = metainfo.get('from_file')
    if path is None:
        return metainfo
    return Config.fromfile(path).dataset_info if os.path.isfile(path) else None


def check_metainfo(metainfo: Mapping) -> Iterator[Finding]:
    """Check meta information that is not parsed yet.

    Args:
        metainfo: See mmpose's ``parse_pose_metainfo``.
    """
    lacking = [entry for entry in REQUIRED if entry not in metainfo]
    if lacking:
        yield _fault(
            'metainfo-incomplete',
            f'metainfo lacks {", ".join(lacking)}.',
            f'It needs {", ".join(REQUIRED)}; configs/custom has a complete one.',
        )
        return
    keypoints = [dict(each) for each in metainfo['keypoint_info'].values()]
    names = [each.get('name') for each in keypoints]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        yield _fault(
            'names-twice',
            f'Several keypoints bear one name: {", ".join(twice)}.',
            'Give each keypoint a name of its own; flip pairs and links go by names.',
            len(twice),
        )
        return
    yield from _check_swaps({each['name']: each.get('swap') or each['name'] for each in keypoints})
    for entry in ('sigmas', 'joint_weights'):
        yield from _check_values(entry, metainfo[entry], len(names))
    unknown = {
        str(end)
        for link in metainfo['skeleton_info'].values()
        for end in link.get('link', ())
        if end not in names
    }
    if unknown:
        yield _fault(
            'links-unknown',
            f'Links of the skeleton name keypoints that there are not: {sorted(unknown)}.',
            'Let skeleton_info name keypoints as keypoint_info does.',
            len(unknown),
        )


def _check_swaps(swaps: dict[str, str]) -> Iterator[Finding]:
    unknown = [name for name, other in swaps.items() if other not in swaps]
    if unknown:
        listed = ', '.join(f'{name} with {swaps[name]}' for name in unknown)
        yield _fault(
            'swap-unknown',
            f"'swap' names keypoints that there are not: {listed}.",
            ADVICE_SWAP,
            len(unknown),
        )
        return
    broken = [name for name, other in swaps.items() if swaps[other] != name]
    if broken:
        listed = ', '.join(f'{n} -> {swaps[n]} -> {swaps[swaps[n]]}' for n in broken[:5])
        yield _fault(
            'flip-pairs-not-mutual',
            f'Flip pairs are not mutual, so that flipped pictures get wrong labels: {listed}.',
            ADVICE_SWAP,
            len(broken),
        )
        return
    wrong = _against_names(swaps)
    if wrong:
        listed = ', '.join(f'{name} with {swaps[name]}' for name in wrong[:5])
        yield _fault(
            'flip-pairs-against-names',
            f'Flip pairs contradict the names of keypoints: {listed}. Flipping exchanges left and '
            'right, in half of the training pictures and in the flip test.',
            ADVICE_SWAP,
            len(wrong),
        )


def _against_names(swaps: Mapping[str, str]) -> list[str]:
    """Keypoints that are exchanged with another than the one of their name on the other side."""
    names = list(swaps)
    try:
        partners, joints = pair_names(names)
    except ValueError:  # names that differ in how they are written alone say nothing
        return []
    sides = {name: joint.side for name, joint in zip(names, joints)}
    wrong = []
    for name, partner in zip(names, (names[index] for index in partners)):
        other = swaps[name]
        # without a partner there is none to be exchanged with, but for names that tell no sides
        if other != partner and (partner != name or sides[name] or sides[other]):
            wrong.append(name)
    return wrong


def _check_values(entry: str, values: Sequence[float], num_keypoints: int) -> Iterator[Finding]:
    values = np.asarray(values, dtype=np.float64).ravel()
    advice = f'Give one positive number for each of the {num_keypoints} keypoints.'
    if len(values) != num_keypoints:
        yield _fault(
            f'number-of-{entry.replace("_", "-")}',
            f'metainfo has {len(values)} {entry} for {num_keypoints} keypoints.',
            advice,
        )
        return
    bad = ~(values > 0)
    if bad.any():
        yield Finding(
            'fault' if entry == 'sigmas' or bad.all() else 'warning',
            f'{entry.replace("_", "-")}-not-positive',
            f'{bad.sum()} of the {entry} in metainfo are not positive: {values[bad][:5].tolist()}.',
            advice,
            count=int(bad.sum()),
        )


def check_names(names: Sequence[str], categories: Sequence[Mapping]) -> Iterator[Finding]:
    """Compare the keypoints of meta information with those that the file's categories name.

    Args:
        names: Keypoints of the meta information in their order.
        categories: Of the file; those without 'keypoints' say nothing.
    """
    own = [words(name) for name in names]
    for category in categories:
        listed = category.get('keypoints') if isinstance(category, Mapping) else None
        if not isinstance(listed, (list, tuple)) or len(listed) != len(names):
            continue  # other numbers show in the annotations
        theirs = [words(name) for name in listed]
        moved = [
            (index, theirs.index(name))
            for index, name in enumerate(own)
            if own.count(name) == theirs.count(name) == 1 and theirs.index(name) != index
        ]
        if moved:
            what = ', '.join(f'{names[i]} is {i} here and {j} there' for i, j in moved[:4])
            yield _fault(
                'keypoint-order',
                f'The file names its keypoints in another order than metainfo: {what}.',
                "Bring keypoint_info of metainfo into the order of the file's "
                f'categories: {", ".join(map(str, listed))}.',
                len(moved),
            )
            return
        differing = [i for i, name in enumerate(own) if name != theirs[i]]
        if 2 * len(differing) > len(own):
            index = differing[0]
            yield Finding(
                'warning',
                'keypoint-names',
                f'{len(differing)} of {len(own)} keypoints have other names in the file than in '
                f'metainfo, such as number {index}: {listed[index]} there, {names[index]} here.',
                'Is this the meta information of these keypoints? If so, nothing needs to be done.',
                count=len(differing),
            )
            return


def _fault(kind: str, message: str, advice: str, count: int = 0) -> Finding:
    return Finding('fault', kind, message, advice, count=count)
