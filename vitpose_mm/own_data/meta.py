"""Meta information of a data set from the names of its keypoints."""

from __future__ import annotations

import re
import statistics
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from string import ascii_lowercase
from typing import NamedTuple

LEFT_COLOR, RIGHT_COLOR, MIDDLE_COLOR = [0, 255, 0], [255, 128, 0], [51, 153, 255]
DEFAULT_SIGMA = 0.05  # where no keypoint is known; COCO's are 0.025 (eye) to 0.107 (hip)

# mmpose's data sets whose sigmas are looked up, in this order; the animals' comes first for names
# with one of ANIMAL_WORDS. AIC is not among them: its sigmas are far smaller for the same joints.
REFERENCES = ('coco', 'coco_wholebody', 'mpii', 'crowdpose', 'ap10k')
ANIMAL_REFERENCES = ('ap10k', *REFERENCES[:-1])
ANIMAL_WORDS = frozenset({'paw', 'hoof', 'hooves', 'tail', 'snout', 'muzzle', 'withers'})

LOWER_WORDS = frozenset(
    (
        *('hip', 'hips', 'pelvis', 'leg', 'legs', 'thigh', 'knee', 'knees', 'shin', 'calf'),
        *('ankle', 'ankles', 'foot', 'feet', 'heel', 'heels', 'sole', 'toe', 'toes', 'bigtoe'),
        *('smalltoe', 'crotch', 'tail', 'paw', 'paws', 'hoof', 'hooves', 'hock'),
    )
)
FRONT_WORDS = frozenset({'front', 'fore', 'f'})
HIND_WORDS = frozenset({'back', 'hind', 'rear', 'b'})
LIMB_WORDS = frozenset({'elbow', 'wrist', 'shoulder', 'limb', 'fetlock'})

# Other words for joints, without left and right, as the references have them.
SYNONYMS = {
    'eyes': 'eye',
    'ears': 'ear',
    'nose_tip': 'nose',
    'snout': 'nose',
    'hand': 'wrist',
    'foot': 'ankle',
    'head': 'top_head',
    'tophead': 'top_head',
    'headtop': 'head_top',
    'chest': 'thorax',
    'sternum': 'thorax',
    'head_bottom': 'upper_neck',
    'mid_hip': 'pelvis',
    'hip_center': 'pelvis',
    'root': 'pelvis',
    'bigtoe': 'big_toe',
    'smalltoe': 'small_toe',
    'toe': 'big_toe',
    'little_toe': 'small_toe',
    'front_paw': 'f_paw',
    'fore_paw': 'f_paw',
    'forepaw': 'f_paw',
    'front_hoof': 'f_paw',
    'back_paw': 'b_paw',
    'hind_paw': 'b_paw',
    'rear_paw': 'b_paw',
    'hindpaw': 'b_paw',
    'hind_hoof': 'b_paw',
    'back_hoof': 'b_paw',
    'tail_root': 'root_of_tail',
    'tail_base': 'root_of_tail',
    'tail': 'root_of_tail',
    'tailbase': 'root_of_tail',
}

# Links that no reference has for its own keypoints, beside those of COCO-WholeBody (body, feet and
# hands): of heads and necks as LSP, MPII, AIC and CrowdPose have them.
FURTHER_LINKS = (
    ('head_top', 'neck'),
    ('top_head', 'neck'),
    ('head_top', 'upper_neck'),
    ('upper_neck', 'thorax'),
    ('neck', 'shoulder'),
    ('thorax', 'shoulder'),
    ('pelvis', 'hip'),
    ('thorax', 'pelvis'),
)

_WORD = re.compile(r'\d+|[^\W\d_]+')
_PART = re.compile(r'[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+')  # of a word such as LKnee
_OTHER = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l'}
_NO_SIDES = sorted(set(ascii_lowercase) - set('lrmc'))  # left, right, middle, centre
_SIDE = {'left': 'left', 'right': 'right', 'l': 'left', 'r': 'right'}

Words = tuple[str, ...]


class Joint(NamedTuple):
    """What a name says: 'left', 'right' or '', and the joint, words joined by _."""

    side: str
    joint: str


class Reference(NamedTuple):
    """Meta information of one of mmpose's data sets, by joints."""

    sigmas: dict[Joint, float]
    weights: dict[Joint, float]
    swaps: dict[Joint, Joint]
    links: list[tuple[Joint, Joint]]


def words_of(name: str) -> Words:
    """Words and numbers of a name in small letters: ``LKnee_2`` gives ('l', 'knee', '2')."""
    words = []
    for word in _WORD.findall(name):
        parts = _PART.findall(word) if word.isascii() and word.isalpha() else [word]
        words += [part.lower() for part in parts]
    return tuple(words)


def pair_names(names: Sequence[str]) -> tuple[list[int], list[Joint]]:
    """Pairs of left and right, and what each keypoint is, by the names alone.

    A pair are names that differ in one word, 'left' or 'right', or in one letter, l or r, that is
    a word of its own (``L_Eye``, ``kneeL``, ``Knee.L``) or stands at the start or end of a word
    (``lknee``). Letters, and left and right within a word (``leftknee``), count only where the
    other name is there, too.

    Returns:
        Which keypoint takes the place of each in a mirrored picture, itself without a partner; and
        side and joint of each.

    Raises:
        ValueError: Names are the same, but for how they are written.
    """
    words = [words_of(name) for name in names]
    indices: dict[Words, int] = {}
    for index, key in enumerate(words):
        key = key or (names[index],)
        if key in indices:
            raise ValueError(
                f'keypoints {indices[key]} and {index} have the same name: '
                f'{names[indices[key]]!r} and {names[index]!r}; names must tell keypoints apart'
            )
        indices[key] = index
    partners = list(range(len(names)))
    joints = []
    for index, key in enumerate(words):
        joint = Joint('', '_'.join(key))
        for side, rest, mirrored, certain in _mirrorings(key):
            found = mirrored in indices and (certain or not _is_lettered(key, mirrored, indices))
            if found:
                partners[index] = indices[mirrored]
            if found or certain:
                joint = Joint(side, '_'.join(rest))
                break
        joints.append(joint)
    mutual = [p if partners[p] == index else index for index, p in enumerate(partners)]
    return mutual, joints


def _is_lettered(words: Words, mirrored: Words, names: Collection[Words]) -> bool:
    """Whether an l is one of many letters, as in kp_a, kp_b, ..., kp_l, rather than a side."""
    places = [place for place, word in enumerate(words) if word != mirrored[place]]
    if len(words) != len(mirrored) or any(len(words[place]) > 1 for place in places):
        return False
    return any(
        (*words[:place], letter, *words[place + 1 :]) in names
        for place in places
        for letter in _NO_SIDES
    )


def _mirrorings(words: Words) -> Iterable[tuple[str, Words, Words, bool]]:
    """Side, words without it, words of the other side, and whether it is one without a partner."""
    for markers, certain in ((('left', 'right'), True), (('l', 'r'), False)):
        places = [place for place, word in enumerate(words) if word in markers]
        if not places:
            continue
        # of several, as in left_of_right_eye, all are exchanged, and without a partner none counts
        mirrored = tuple(_OTHER[word] if word in markers else word for word in words)
        rest = tuple(word for word in words if word not in markers)
        if rest or certain:
            yield _SIDE[words[places[-1]]], rest, mirrored, certain and len(places) == 1
    for marker in ('left', 'right', 'l', 'r'):
        other, size = _OTHER[marker], len(marker)
        for place, word in enumerate(words):
            before, after = words[:place], words[place + 1 :]
            if len(word) <= size:
                continue
            if word.startswith(marker):
                rest = word[size:]
                yield _SIDE[marker], (*before, rest, *after), (*before, other + rest, *after), False
            if word.endswith(marker):
                rest = word[:-size]
                yield _SIDE[marker], (*before, rest, *after), (*before, rest + other, *after), False


def check_flip_indices(flip_indices: Sequence[int], num_keypoints: int) -> list[int]:
    """Flip indices that are a list of K whole numbers, each pointing back.

    Raises:
        ValueError: They are not.
    """
    flip_indices = list(flip_indices)
    if len(flip_indices) != num_keypoints:
        raise ValueError(
            f'flip_indices must have one entry for each of the {num_keypoints} keypoints, got '
            f'{len(flip_indices)}: {flip_indices}'
        )
    wrong = [
        index
        for index, partner in enumerate(flip_indices)
        if not isinstance(partner, int)
        or not 0 <= partner < num_keypoints
        or flip_indices[partner] != index
    ]
    if wrong:
        raise ValueError(
            'flip_indices must lead back to each keypoint when applied twice; they do not at '
            f'{wrong}: {flip_indices}'
        )
    return flip_indices


def body_half(joint: str) -> str:
    """'lower' for hips and what is below them, by the words of a joint, else 'upper'.

    Lower are ``LOWER_WORDS`` without one of ``FRONT_WORDS`` (an animal's front knee is upper), and
    ``LIMB_WORDS`` with one of ``HIND_WORDS``. mmpose's ``RandomHalfBody`` chooses between the two.

    Args:
        joint: Of a :class:`Joint`: without left and right.
    """
    words = set(joint.split('_'))
    hind = bool(words & HIND_WORDS and words & LIMB_WORDS)
    return 'lower' if hind or (words & LOWER_WORDS and not words & FRONT_WORDS) else 'upper'


@cache
def reference(name: str) -> Reference:
    """Meta information of a data set that mmpose has a file for, such as 'coco'."""
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    with warnings.catch_warnings():
        # that the file is not where a checkout of mmpose would have it
        warnings.simplefilter('ignore')
        parsed = parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))
    names = [parsed['keypoint_id2name'][index] for index in range(parsed['num_keypoints'])]
    _, joints = pair_names(names)
    return Reference(
        # as written: float32 would show in the configs
        {joint: round(float(sigma), 6) for joint, sigma in zip(joints, parsed['sigmas'])},
        {
            joint: round(float(weight), 6)
            for joint, weight in zip(joints, parsed['dataset_keypoint_weights'])
        },
        {joint: joints[other] for joint, other in zip(joints, parsed['flip_indices'])},
        [(joints[a], joints[b]) for a, b in parsed['skeleton_links']],
    )


def known_sigma(joint: Joint, references: Sequence[str]) -> float | None:
    """The sigma of a joint in the first of mmpose's data sets that has it, None if none has.

    First the joint as it is named, of the same side or of any, in all of them; then likewise its
    synonym (``SYNONYMS``).
    """
    for name in dict.fromkeys((joint.joint, SYNONYMS.get(joint.joint, joint.joint))):
        for label in references:
            sigmas = reference(label).sigmas
            for side in dict.fromkeys((joint.side, '', 'left', 'right')):
                if Joint(side, name) in sigmas:
                    return sigmas[Joint(side, name)]
    return None


def known_links(joints: Sequence[Joint]) -> list[tuple[int, int]]:
    """Links of a body, between indices, for the joints that are known.

    Those of COCO-WholeBody, which begin with COCO's, and ``FURTHER_LINKS``.
    """
    indices: dict[Joint, int] = {}
    for index, joint in enumerate(joints):
        indices.setdefault(joint, index)
    for index, joint in enumerate(joints):
        synonym = SYNONYMS.get(joint.joint)
        if synonym is not None:
            indices.setdefault(Joint(joint.side, synonym), index)
    further = []
    for a, b in FURTHER_LINKS:
        for side in ('', 'left', 'right'):
            further.append((Joint('', a), Joint(side, b)))
    links = [
        (indices[a], indices[b])
        for a, b in (*reference('coco_wholebody').links, *further)
        if a in indices and b in indices
    ]
    return list(dict.fromkeys(links))


def infer_metainfo(
    dataset_name: str,
    keypoint_names: Sequence[str],
    skeleton: Sequence[Sequence[int]] | None = None,
    flip_indices: Sequence[int] | None = None,
) -> tuple[dict, list[str]]:
    """Meta information in the form of mmpose's ``dataset_info``, from names.

    - Pairs that change places in mirrored pictures: ``flip_indices``, or :func:`pair_names`, or,
      for names that tell no sides, those of COCO-WholeBody (``face-0`` to ``face-67``).
    - Halves of the body for ``RandomHalfBody``: :func:`body_half`.
    - Sigmas, for object keypoint similarity: :func:`known_sigma`, in the order of ``REFERENCES``,
      and ``ANIMAL_REFERENCES`` where a name has one of ``ANIMAL_WORDS``; else the median of those
      found, or ``DEFAULT_SIGMA`` if none was.
    - Weights: COCO's for its joints, else 1; mmpose's pipelines leave them out unless asked.
    - Links: ``skeleton``, or :func:`known_links`.

    Args:
        skeleton: Pairs of indices, from 0.
        flip_indices: Which keypoint takes the place of each in a mirrored picture.

    Returns:
        ``dict(dataset_name, keypoint_info, skeleton_info, joint_weights, sigmas)`` of plain values,
        which ``parse_pose_metainfo`` takes; and notes on what was assumed, in plain words.

    Raises:
        ValueError: Names are repeated or empty, or ``flip_indices`` or ``skeleton`` cannot be of
            these keypoints.
    """
    names = [str(name) for name in keypoint_names]
    if not names or not all(name.strip() for name in names):
        raise ValueError(f'keypoint_names must be names, got {names}')
    notes: list[str] = []
    partners, joints = pair_names(names)
    partners = _with_known_swaps(partners, joints)
    lonely = [n for n, p, j in zip(names, partners, joints) if j.side and names[p] == n]
    if lonely and flip_indices is None:
        notes.append(f'{", ".join(lonely)}: no partner on the other side, stay when mirrored')
    if flip_indices is not None:
        given = check_flip_indices(flip_indices, len(names))
        other = [f'{names[i]} - {names[given[i]]}' for i, p in enumerate(partners) if given[i] != p]
        if other:
            notes.append(f'flip_indices of the source pair other keypoints than names do: {other}')
        partners = given
    num_pairs = sum(partner > index for index, partner in enumerate(partners))
    if not num_pairs:
        notes.append('no pairs of left and right were found: mirrored pictures keep all keypoints')

    sigmas, sigma_notes = _sigmas(names, joints)
    notes += sigma_notes
    if skeleton:
        links = _checked_links(skeleton, len(names))
    else:
        links = known_links(joints)
        if not links:
            notes.append('no skeleton: keypoints are drawn without links')
    colors = {'left': LEFT_COLOR, 'right': RIGHT_COLOR, '': MIDDLE_COLOR}
    coco = reference('coco').weights
    keypoint_info = {
        index: dict(
            name=name,
            id=index,
            color=list(colors[joints[index].side]),
            type=body_half(joints[index].joint),
            swap='' if partners[index] == index else names[partners[index]],
        )
        for index, name in enumerate(names)
    }
    skeleton_info = {}
    for index, (a, b) in enumerate(links):
        side = joints[a].side if joints[a].side == joints[b].side else ''
        skeleton_info[index] = dict(link=(names[a], names[b]), id=index, color=list(colors[side]))
    metainfo = dict(
        dataset_name=dataset_name,
        keypoint_info=keypoint_info,
        skeleton_info=skeleton_info,
        joint_weights=[coco.get(joint, 1.0) for joint in joints],
        sigmas=sigmas,
    )
    return metainfo, notes


def _with_known_swaps(partners: Sequence[int], joints: Sequence[Joint]) -> list[int]:
    """Pairs of names that tell no sides, of faces as in COCO-WholeBody."""
    swaps: Mapping[Joint, Joint] = reference('coco_wholebody').swaps
    indices = {joint: index for index, joint in enumerate(joints) if not joint.side}
    return [
        indices.get(swaps.get(joint, joint), partner) if not joint.side else partner
        for joint, partner in zip(joints, partners)
    ]


def _sigmas(names: Sequence[str], joints: Sequence[Joint]) -> tuple[list[float], list[str]]:
    words = {word for name in names for word in words_of(name)}
    words |= {word[:-1] for word in words if word.endswith('s')}
    order = ANIMAL_REFERENCES if words & ANIMAL_WORDS else REFERENCES
    found = [known_sigma(joint, order) for joint in joints]
    known = [sigma for sigma in found if sigma is not None]
    default = round(statistics.median(known), 6) if known else DEFAULT_SIGMA
    notes = []
    unknown = [name for name, sigma in zip(names, found) if sigma is None]
    if unknown:
        origin = f'the median of the {len(known)} known' if known else 'as none is known'
        notes.append(f'sigma {default:g} ({origin}) for {", ".join(unknown)}')
    return [default if sigma is None else sigma for sigma in found], notes


def _checked_links(skeleton: Sequence[Sequence[int]], count: int) -> list[tuple[int, int]]:
    links = [tuple(link) for link in skeleton]
    wrong = [k for k in links if len(k) != 2 or not all(0 <= end < count for end in k)]
    if wrong:
        raise ValueError(f'links must be pairs of indices from 0 to {count - 1}, got {wrong}')
    return links
