"""People painted over a picture in depth order, clothed, with a map of who is seen where.

Positions are in image px with the depth as third coordinate (see ``figures``).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .figures import KEYPOINT_NAMES, Figure

_SEGMENTS = ('upper_arm', 'forearm', 'thigh', 'shank', 'foot')
PART_NAMES = (
    *('torso', 'head', 'skirt'),
    *(f'left_{segment}' for segment in _SEGMENTS),
    *(f'right_{segment}' for segment in _SEGMENTS),
)
PART_IDS = {name: index for index, name in enumerate(PART_NAMES, start=1)}
IDS_PER_PERSON = 16  # part ids 1..13; person p paints IDS_PER_PERSON * p + part into the id map
MAX_PEOPLE = 255 // IDS_PER_PERSON  # the id map is uint8

SKIN_BGR = ((180, 205, 240), (150, 185, 230), (120, 160, 215), (90, 130, 190), (60, 90, 145),
            (40, 62, 100))  # fmt: skip
HAIR_BGR = ((20, 20, 25), (30, 45, 70), (50, 80, 120), (90, 150, 190), (40, 60, 130),
            (150, 150, 150))  # fmt: skip

_FIXED_POINT_BITS = 4
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 8)
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 14)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 14)[:-1])], 1
)


@dataclass
class Look:
    """Colours are BGR; coverages run from 0 (bare) to 2 (both limb segments covered)."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    trim: np.ndarray
    trousers: np.ndarray
    shoes: np.ndarray
    sleeve: float
    trouser_leg: float
    skirt: bool
    long_hair: bool
    pattern: str


def sample_look(rng: np.random.Generator) -> Look:
    """Random skin, hair and clothes."""
    colours = rng.integers(15, 241, (5, 3)).astype(float)
    # As in most streets: the darker clothes below, the brighter ones above.
    shirt, trousers = 60 + 0.75 * colours[0], 0.5 * colours[2]
    hair = colours[4] if rng.random() < 0.15 else np.array(HAIR_BGR[rng.integers(len(HAIR_BGR))])
    skirt = rng.random() < 0.2
    return Look(
        skin=np.array(SKIN_BGR[rng.integers(len(SKIN_BGR))]) * rng.uniform(0.92, 1.05),
        hair=hair,
        shirt=shirt,
        trim=colours[1],
        trousers=shirt if skirt and rng.random() < 0.4 else trousers,
        shoes=colours[3] * 0.4,
        sleeve=float(rng.choice((0.0, 0.55, 0.9, 2.0, 2.0))),
        trouser_leg=0.0 if skirt else float(rng.choice((0.6, 0.95, 2.0, 2.0, 2.0))),
        skirt=skirt,
        long_hair=rng.random() < 0.35,
        pattern=str(rng.choice(('plain', 'plain', 'plain', 'bands', 'pinstripes', 'dots'))),
    )


class _Brush:
    """Paints convex shapes into the picture and, with their part's id, into the id map."""

    def __init__(self, image: np.ndarray, ids: np.ndarray, first_id: int) -> None:
        self.image, self.ids, self.first_id = image, ids, first_id

    def polygon(self, points: np.ndarray, colour: np.ndarray, part: str | None = None) -> None:
        fixed = np.round(points[:, :2] * (1 << _FIXED_POINT_BITS)).astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, colour.tolist(), cv2.LINE_AA, _FIXED_POINT_BITS)
        if part is not None:
            number = self.first_id + PART_IDS[part]
            cv2.fillConvexPoly(self.ids, fixed, number, cv2.LINE_8, _FIXED_POINT_BITS)

    def line(self, start: np.ndarray, end: np.ndarray, colour: np.ndarray, width: float) -> None:
        self.polygon(capsule(start, end, width / 2, width / 2), colour)

    def disc(self, centre: np.ndarray, radius: float, colour: np.ndarray, part: str | None) -> None:
        self.polygon(centre[:2] + max(radius, 0.6) * _CIRCLE, colour, part)

    def limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float],
        colour: np.ndarray,
        part: str,
    ) -> None:
        """A capsule with a dark rim, so that limbs of one colour stay apart where they cross."""
        self.polygon(capsule(start, end, *radii), colour * 0.62, part)
        light = np.array([-0.15, -0.15]) * min(radii)
        inner = (0.72 * radii[0], 0.72 * radii[1])
        self.polygon(capsule(start[:2] + light, end[:2] + light, *inner), colour)


def capsule(start: np.ndarray, end: np.ndarray, radius: float, end_radius: float) -> np.ndarray:
    """Outline (16, 2) of two half discs, about ``start`` and ``end``, joined by straight sides."""
    offset = end[:2] - start[:2]
    angle = np.arctan2(offset[1], offset[0]) + np.concatenate([_ARC, _ARC + np.pi])
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    half = len(_ARC)
    return np.concatenate([end[:2] + end_radius * rim[:half], start[:2] + radius * rim[half:]])


def _hull(centres: list[np.ndarray], radii: list[float]) -> np.ndarray:
    """Convex outline (N, 2) around discs."""
    points = [centre[:2] + radius * _CIRCLE for centre, radius in zip(centres, radii)]
    return cv2.convexHull(np.concatenate(points).astype(np.float32))[:, 0]


def _draw_torso(brush: _Brush, figure: Figure, look: Look) -> None:
    unit, girth = figure.unit, figure.girth
    neck, pelvis = figure.joint('neck'), figure.joint('pelvis')
    left, right = figure.joint('left_shoulder'), figure.joint('right_shoulder')
    left_hip, right_hip = figure.joint('left_hip'), figure.joint('right_hip')
    thick = 0.05 * unit * girth
    throat = neck + 0.4 * (figure.joint('head') - neck)
    brush.limb(neck, throat, (0.034 * unit, 0.034 * unit), look.skin, 'torso')

    corners = [left, right, left_hip, right_hip]
    brush.polygon(_hull(corners, [0.9 * thick] * 2 + [thick] * 2), look.shirt * 0.62, 'torso')
    brush.polygon(_hull(corners, [0.6 * thick] * 2 + [0.7 * thick] * 2), look.shirt)
    steps = np.linspace(0.12, 0.88, 5)
    width = 0.02 * unit
    if look.pattern == 'bands':
        for step in steps:
            one, other = left + step * (left_hip - left), right + step * (right_hip - right)
            brush.line(one, other, look.trim, width)
    elif look.pattern == 'pinstripes':
        for step in steps:
            top, bottom = left + step * (right - left), left_hip + step * (right_hip - left_hip)
            brush.line(top, bottom, look.trim, 0.5 * width)
    elif look.pattern == 'dots':
        for step in steps:
            for across in (0.15, 0.5, 0.85):
                top = left + across * (right - left)
                bottom = left_hip + across * (right_hip - left_hip)
                brush.disc(top + step * (bottom - top), 0.6 * width, look.trim, None)

    waist = [left_hip, right_hip, pelvis + 0.15 * (neck - pelvis)]
    brush.polygon(_hull(waist, [thick, thick, 0.9 * thick]), look.trousers * 0.8, 'torso')

    to_left, _, to_back = figure.torso_axes.T * unit
    if to_back[2] > 0.15 * unit:  # the chest is seen: opening, collar, and a pocket on the left
        chest = -0.9 * thick / unit * to_back
        brush.line(neck + chest, pelvis + 0.2 * (neck - pelvis) + chest, look.trim, 0.6 * width)
        for sign in (1, -1):
            shoulder_side = neck + sign * 0.04 * to_left + 0.6 * chest
            brush.line(shoulder_side, neck + 0.15 * (pelvis - neck) + chest, look.skin, width)
        pocket = neck + 0.3 * (pelvis - neck) + 0.06 * to_left + chest
        brush.line(pocket - 0.02 * to_left, pocket + 0.02 * to_left, look.trim, 1.6 * width)


def _hair_end(figure: Figure) -> np.ndarray:
    return figure.joint('head') + figure.head_radius * figure.unit * (
        figure.head_axes @ (0, 1.7, 0.5)
    )


def _draw_long_hair(brush: _Brush, figure: Figure, look: Look) -> None:
    radius = figure.head_radius * figure.unit
    radii = (0.95 * radius, 0.7 * radius)
    brush.limb(figure.joint('head'), _hair_end(figure), radii, look.hair * 0.85, 'head')


def _draw_head(brush: _Brush, figure: Figure, look: Look) -> None:
    head, axes = figure.joint('head'), figure.head_axes
    radius = figure.head_radius * figure.unit
    facing = axes[2, 2]  # 1 looks at the viewer, -1 away
    ears = sorted(('left_ear', 'right_ear'), key=lambda name: -figure.joint(name)[2])
    seen_from_behind = look.long_hair and facing < 0.25
    chin = head + radius * (axes @ (0, 0.45, -0.2))
    brush.disc(figure.joint(ears[0]), 0.26 * radius, look.skin * 0.8, 'head')
    brush.disc(chin, 0.75 * radius, look.hair if seen_from_behind else look.skin, 'head')
    brush.disc(head, 1.06 * radius, look.hair * 0.75, 'head')
    brush.disc(head - 0.12 * radius, 0.85 * radius, look.hair, None)

    # The face is a cap of the sphere about the forward direction; what of its rim lies behind the
    # silhouette is pulled onto it.
    around = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = np.deg2rad(66)
    rim = np.stack([np.sin(reach) * np.cos(around), 0.3 + 0.82 * np.sin(reach) * np.sin(around),
                    np.full_like(around, -np.cos(reach))])  # fmt: skip
    rim = (axes @ (rim / np.linalg.norm(rim, axis=0))).T  # (16, 3)
    behind = rim[:, 2] > 0
    rim[behind, :2] /= np.linalg.norm(rim[behind, :2], axis=1, keepdims=True).clip(1e-6)
    nose = figure.joint('nose')
    if facing > -0.25:
        face = _hull(list(head + radius * rim), [0.01] * len(rim))
        brush.polygon(face, look.skin, 'head')
    if facing > -0.1:
        bridge = head + radius * (axes @ (0, -0.15, -0.95))
        brush.polygon(capsule(bridge, nose, 0.1 * radius, 0.2 * radius), look.skin * 0.72, 'head')
    white, dark = np.array((235.0, 235.0, 235.0)), np.array((35.0, 25.0, 25.0))
    for name in ('left_eye', 'right_eye'):
        eye = figure.joint(name)
        if eye[2] - head[2] < -0.3 * radius:
            brush.disc(eye, 0.22 * radius, white, 'head')
            brush.disc(eye, 0.13 * radius, dark, None)
    if facing > 0.2:
        corners = [head + radius * (axes @ (sign * 0.25, 0.52, -0.82)) for sign in (1, -1)]
        brush.line(*corners, np.array((60.0, 60.0, 150.0)), 0.13 * radius)
    ear = figure.joint(ears[1])
    if ear[2] - head[2] < 0.45 * radius:
        brush.disc(ear, 0.24 * radius, look.skin * 0.7, 'head')
        brush.disc(ear, 0.14 * radius, look.skin, None)
    other = figure.joint(ears[0])
    if other[2] - head[2] < 0.25 * radius:
        brush.disc(other, 0.22 * radius, look.skin * 0.7, 'head')


def _draw_limb(brush: _Brush, figure: Figure, look: Look, side: str, part: str) -> None:
    """One limb segment: skin first, then what sleeve or trouser leg covers of it."""
    ends = {
        'upper_arm': ('shoulder', 'elbow', 0.039, 0.033, look.sleeve, look.shirt),
        'forearm': ('elbow', 'wrist', 0.033, 0.025, look.sleeve - 1.05, look.shirt),
        'thigh': ('hip', 'knee', 0.055, 0.041, look.trouser_leg, look.trousers),
        'shank': ('knee', 'ankle', 0.04, 0.029, look.trouser_leg - 1.05, look.trousers),
        'foot': ('ankle', 'toe', 0.031, 0.026, 1.0, look.shoes),
    }
    first, second, start_radius, end_radius, cover, cloth = ends[part]
    start, end = figure.joint(f'{side}_{first}'), figure.joint(f'{side}_{second}')
    thickness = figure.unit * figure.girth
    radii = (start_radius * thickness, end_radius * thickness)
    name = f'{side}_{part}'
    if part == 'forearm':
        hand_radius = 0.028 * figure.unit
        brush.limb(end, figure.joint(f'{side}_hand'), (hand_radius,) * 2, look.skin, name)
    cover = min(cover, 1.0)
    if cover < 1:
        brush.limb(start, end, radii, look.skin, name)
    if cover > 0:
        cloth_end_radius = 1.08 * (radii[0] + cover * (radii[1] - radii[0]))
        hem = start + cover * (end - start)
        brush.limb(start, hem, (1.08 * radii[0], cloth_end_radius), cloth, name)
        if part != 'foot' and look.pattern == 'bands':
            brush.disc(start + 0.5 * (hem - start), 0.5 * cloth_end_radius, look.trim, None)


def _draw_skirt(brush: _Brush, figure: Figure, look: Look) -> None:
    thick = 0.05 * figure.unit * figure.girth
    hips = [figure.joint('left_hip'), figure.joint('right_hip')]
    hems = [hip + 0.75 * (figure.joint(f'{side}_knee') - hip)
            for side, hip in zip(('left', 'right'), hips)]  # fmt: skip
    for share, tint, part in ((1.0, 0.62, 'skirt'), (0.75, 1.0, None)):
        radii = [share * thick] * 2 + [1.25 * share * thick] * 2
        brush.polygon(_hull(hips + hems, radii), look.trousers * tint, part)


def draw_figure(
    image: np.ndarray, ids: np.ndarray, figure: Figure, look: Look, person: int
) -> None:
    """Paints a placed figure over what is there, its far parts first.

    Args:
        image: (H, W, 3) uint8, changed in place.
        ids: (H, W) uint8, changed in place: ``IDS_PER_PERSON * person + PART_IDS[part]``.
        person: number of the person in the scene, 0 to ``MAX_PEOPLE - 1``.
    """
    brush = _Brush(image, ids, IDS_PER_PERSON * person)

    def mean_depth(*names: str) -> float:
        return float(np.mean([figure.joint(name)[2] for name in names]))

    steps = [
        (mean_depth('neck', 'pelvis'), _draw_torso, ()),
        (mean_depth('head'), _draw_head, ()),
    ]
    if look.long_hair:
        hair_depth = (figure.joint('head')[2] + _hair_end(figure)[2]) / 2
        steps.append((hair_depth, _draw_long_hair, ()))
    if look.skirt:
        knees_and_hips = mean_depth('left_knee', 'right_knee', 'left_hip', 'right_hip')
        steps.append((knees_and_hips - 0.07 * figure.unit, _draw_skirt, ()))
    segments = (
        ('upper_arm', 'shoulder', 'elbow'), ('forearm', 'elbow', 'wrist'),
        ('thigh', 'hip', 'knee'), ('shank', 'knee', 'ankle'), ('foot', 'ankle', 'toe'),
    )  # fmt: skip
    for side in ('left', 'right'):
        for part, first, second in segments:
            # A hair nearer than it is, so that a limb beside the torso covers the torso's edge.
            depth = mean_depth(f'{side}_{first}', f'{side}_{second}') - 0.02 * figure.unit
            steps.append((depth, _draw_limb, (side, part)))
    for _, draw, arguments in sorted(steps, key=lambda step: -step[0]):
        draw(brush, figure, look, *arguments)


def keypoints_in_sight(ids: np.ndarray, figure: Figure, person: int) -> np.ndarray:
    """Which of the 17 keypoints are seen, from the finished id map (H, W).

    A keypoint is in sight where a part that it belongs to is on top, and where it does not lie on
    the far side of head or torso. Keypoints outside the picture are not in sight.
    """
    height, width = ids.shape
    head_depth, radius = figure.joint('head')[2], figure.head_radius * figure.unit
    torso_depth = (figure.joint('neck')[2] + figure.joint('pelvis')[2]) / 2
    owners = {
        'ear': ('head',), 'eye': ('head',), 'shoulder': ('upper_arm', 'torso'),
        'elbow': ('upper_arm', 'forearm'), 'wrist': ('forearm',),
        'hip': ('thigh', 'skirt', 'torso'), 'knee': ('thigh', 'shank', 'skirt'),
        'ankle': ('shank', 'foot'), 'nose': ('head',),
    }  # fmt: skip
    seen = np.zeros(len(KEYPOINT_NAMES), dtype=bool)
    for index, name in enumerate(KEYPOINT_NAMES):
        x, y, depth = figure.joints[index]
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        if not (0 <= column < width and 0 <= row < height):
            continue
        side, _, kind = name.rpartition('_')
        on_top = int(ids[row, column]) - IDS_PER_PERSON * person
        allowed = [PART_IDS[part if part in PART_IDS else f'{side}_{part}']
                   for part in owners[kind]]  # fmt: skip
        if kind in ('shoulder', 'hip') and depth - torso_depth > 0.05 * figure.unit:
            allowed.remove(PART_IDS['torso'])
        beyond_head = {'ear': 0.45, 'eye': -0.3, 'nose': 0.0}.get(kind)
        hidden_by_head = beyond_head is not None and depth - head_depth > beyond_head * radius
        seen[index] = on_top in allowed and not hidden_by_head
    return seen
