"""Kinematic skeletons of people in random poses.

Frames. Body frame: x to the person's left, y down, z to the back; lengths in standing heights.
Image frame: pixels, x right, y down, z away from the viewer. A person with yaw 0 faces the viewer,
so that both frames have the same axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEYPOINT_NAMES = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip',
    'left_knee', 'right_knee', 'left_ankle', 'right_ankle',
)  # fmt: skip
JOINT_NAMES = (
    *KEYPOINT_NAMES,
    'head', 'neck', 'pelvis', 'left_hand', 'right_hand', 'left_toe', 'right_toe',
)  # fmt: skip
JOINT_INDEX = {name: index for index, name in enumerate(JOINT_NAMES)}


@dataclass
class Figure:
    """One posed person.

    Attributes:
        joints: (24, 3) in the order of ``JOINT_NAMES``; body heights, or pixels once placed.
        torso_axes: (3, 3), columns are the torso's left, down and back.
        head_axes: (3, 3), the same for the head.
        unit: length of one standing height in the units of ``joints``.
        head_radius: in standing heights.
        girth: thickness of limbs and torso relative to the average.
    """

    joints: np.ndarray
    torso_axes: np.ndarray
    head_axes: np.ndarray
    unit: float
    head_radius: float
    girth: float

    def joint(self, name: str) -> np.ndarray:
        return self.joints[JOINT_INDEX[name]]

    def placed(self, unit: float, centre_xy: np.ndarray) -> Figure:
        """The same figure with ``unit`` pixels a height, its joints' box centred on a point."""
        joints = self.joints * (unit / self.unit)
        middle = (joints[:, :2].min(0) + joints[:, :2].max(0)) / 2
        joints[:, :2] += np.asarray(centre_xy) - middle
        return Figure(joints, self.torso_axes, self.head_axes, unit, self.head_radius, self.girth)


def _turn(axis: int, degrees: float) -> np.ndarray:
    """Rotation by the right-hand rule about axis 0, 1 or 2."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((3, 3))
    matrix[axis, axis] = 1
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def _arm_angles(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """(abduction, flexion, inward twist, elbow flexion) in degrees of one random arm gesture."""
    uniform = rng.uniform
    gesture = rng.choice(7, p=(0.5, 0.14, 0.1, 0.1, 0.05, 0.05, 0.06))
    if gesture == 0:  # hanging
        return uniform(5, 20), uniform(-12, 15), uniform(0, 50), uniform(0, 30)
    if gesture == 1:  # swinging
        return uniform(3, 15), uniform(-35, 40), uniform(0, 30), uniform(10, 60)
    if gesture == 2:  # stretched to the side, hand up or down
        return uniform(50, 110), uniform(-15, 25), uniform(-90, 90), uniform(0, 100)
    if gesture == 3:  # up
        return uniform(115, 175), uniform(-15, 20), uniform(-60, 60), uniform(0, 80)
    if gesture == 4:  # forward
        return uniform(0, 30), uniform(50, 120), uniform(-20, 60), uniform(0, 60)
    if gesture == 5:  # across the body
        return uniform(5, 30), uniform(10, 50), uniform(45, 90), uniform(60, 125)
    return uniform(35, 65), uniform(-35, 0), uniform(60, 95), uniform(80, 115)  # hand on the hip


def _leg_angles(rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(abduction, flexion, knee flexion) in degrees of the left and the right leg."""
    uniform = rng.uniform
    stance = rng.choice(5, p=(0.47, 0.27, 0.05, 0.14, 0.07))
    if stance == 0:  # standing
        legs = [(uniform(-2, 12), uniform(-6, 10), uniform(0, 12)) for _ in range(2)]
    elif stance == 1:  # walking: one leg forward, the other back with a bent knee
        stride = uniform(10, 38)
        legs = [
            (uniform(-6, 8), stride, uniform(0, 25)),
            (uniform(-6, 8), -stride * uniform(0.5, 1), uniform(5, 55)),
        ]
    elif stance == 2:  # sitting or squatting
        bend = uniform(55, 110)
        legs = [
            (uniform(-3, 35), bend + uniform(-12, 12), bend + uniform(-30, 25)) for _ in range(2)
        ]
    elif stance == 3:  # legs apart or crossed
        spread = uniform(-12, 42)
        legs = [(spread + uniform(-6, 6), uniform(-10, 15), uniform(0, 35)) for _ in range(2)]
    else:  # one knee or foot raised
        legs = [
            (uniform(0, 40), uniform(35, 100), uniform(0, 120)),
            (uniform(-2, 8), uniform(-8, 8), uniform(0, 12)),
        ]
    return legs if rng.random() < 0.5 else legs[::-1]


def sample_figure(rng: np.random.Generator) -> Figure:
    """A person of random proportions, gesture, facing and in-plane rotation; pelvis at the origin.

    Seven of ten face the viewer, the others show their back or their profile.
    """
    facing = rng.choice(3, p=(0.74, 0.14, 0.12))
    yaw = (0, 180, rng.choice((-90, 90)))[facing] + rng.uniform(-25, 25)
    lying = rng.random() < 0.02
    roll = rng.uniform(-110, 110) if lying else np.clip(rng.normal(0, 7), -25, 25)
    body = _turn(2, roll) @ _turn(0, rng.uniform(-4, 14)) @ _turn(1, yaw)

    bend = rng.uniform(25, 80) if rng.random() < 0.05 else rng.uniform(-6, 12)
    torso = body @ _turn(0, bend) @ _turn(2, rng.normal(0, 6)) @ _turn(1, rng.normal(0, 9))
    head = torso @ _turn(0, rng.uniform(-15, 16) - 0.5 * max(bend, 0))
    head = head @ _turn(1, np.clip(rng.normal(0, 16), -50, 50)) @ _turn(2, rng.normal(0, 8))

    leg, arm, trunk, width = np.exp(rng.normal(0, 0.07, 4))
    girth = 1.2 * float(np.exp(rng.normal(0, 0.13)))
    head_radius = 0.088 * float(np.exp(rng.normal(0, 0.1)))

    joints = np.zeros((len(JOINT_NAMES), 3))

    def put(name: str, position: np.ndarray) -> np.ndarray:
        joints[JOINT_INDEX[name]] = position
        return position

    neck = put('neck', torso @ (0, -0.29 * trunk, 0))
    skull = put('head', neck + torso @ (0, -0.035, -0.01) + head @ (0, -head_radius, 0))
    put('nose', skull + head_radius * head @ (0, 0.12, -1.12))
    legs = _leg_angles(rng)
    for side, sign, (spread, flexion, knee) in zip(('left', 'right'), (1, -1), legs):
        put(f'{side}_eye', skull + head_radius * head @ (sign * 0.38, -0.18, -0.9))
        put(f'{side}_ear', skull + head_radius * head @ (sign * 0.98, 0.02, 0.05))

        abduction, raising, twist, elbow = _arm_angles(rng)
        shoulder = put(f'{side}_shoulder', neck + torso @ (sign * 0.115 * width, 0.015, 0))
        upper = torso @ _turn(2, -sign * abduction) @ _turn(0, -raising) @ _turn(1, sign * twist)
        lower = upper @ _turn(0, -elbow)
        elbow_xyz = put(f'{side}_elbow', shoulder + upper @ (0, 0.17 * arm, 0))
        wrist = put(f'{side}_wrist', elbow_xyz + lower @ (0, 0.155 * arm, 0))
        put(f'{side}_hand', wrist + lower @ (0, 0.05 * arm, 0))

        hip = put(f'{side}_hip', body @ (sign * 0.065 * width, 0, 0))
        thigh = body @ _turn(2, -sign * spread) @ _turn(0, -flexion)
        shank = thigh @ _turn(0, knee)
        knee_xyz = put(f'{side}_knee', hip + thigh @ (0, 0.235 * leg, 0))
        ankle = put(f'{side}_ankle', knee_xyz + shank @ (0, 0.23 * leg, 0))
        put(f'{side}_toe', ankle + shank @ (sign * 0.02, 0.03, -0.085))
    return Figure(joints, torso, head, 1.0, head_radius, girth)
