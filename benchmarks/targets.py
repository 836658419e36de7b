"""Making training targets: batched codecs against mmpose's, person by person."""

import numpy as np
import torch
from common import OURS, PEER, SIZES, Report, parse_arguments, require_agreement
from mmpose.codecs import MSRAHeatmap, UDPHeatmap

from vitpose_mm.codecs import BatchedMSRAHeatmap, BatchedUDPHeatmap

PEOPLE, KEYPOINTS = 64, 17
PAIRS = {'UDP': (BatchedUDPHeatmap, UDPHeatmap), 'MSRA': (BatchedMSRAHeatmap, MSRAHeatmap)}

Person = tuple[np.ndarray, np.ndarray]


def made_up_people() -> list[Person]:
    """Keypoints (1, K, 2) in input px, some of them outside, and visibilities (1, K)."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.uniform((-20, -20), (212, 276), (1, KEYPOINTS, 2)).astype(np.float32),
            (rng.random((1, KEYPOINTS)) < 0.8).astype(np.float32),
        )
        for _ in range(PEOPLE)
    ]


def encode_batch(codec: BatchedUDPHeatmap, people: list[Person]) -> tuple:
    keypoints = np.concatenate([person[0] for person in people])
    visible = np.concatenate([person[1] for person in people])
    return codec.batch_encode(torch.from_numpy(keypoints), torch.from_numpy(visible))


def encode_by_person(codec: UDPHeatmap, people: list[Person]) -> list[dict]:
    """What ``GenerateTarget`` does in the workers."""
    return [codec.encode(keypoints, visible) for keypoints, visible in people]


def encode_and_stack(codec: UDPHeatmap, people: list[Person]) -> tuple:
    """And what mmpose's heads do then, without the way from worker to main process."""
    encoded = encode_by_person(codec, people)
    heatmaps = torch.stack([torch.from_numpy(each['heatmaps']) for each in encoded])
    return heatmaps, torch.cat([torch.from_numpy(each['keypoint_weights']) for each in encoded])


def main() -> None:
    args = parse_arguments(f'Time the making of the targets of {PEOPLE} people.', rounds=100)
    people = made_up_people()
    agreement, calls = {}, {}
    for name, kinds in PAIRS.items():
        ours, theirs = (kind(**SIZES) for kind in kinds)
        (targets, weights), (peer_targets, peer_weights) = (
            encode_batch(ours, people),
            encode_and_stack(theirs, people),
        )
        agreement[f'{name} heatmaps'] = require_agreement(
            targets, peer_targets, 1e-5, f'{name} heatmaps'
        )
        agreement[f'{name} weights'] = require_agreement(
            weights, peer_weights, 0.0, f'{name} weights'
        )
        calls[name] = {
            OURS: lambda codec=ours: encode_batch(codec, people),
            f'{PEER}, encode': lambda codec=theirs: encode_by_person(codec, people),
            f'{PEER}, encode and stack': lambda codec=theirs: encode_and_stack(codec, people),
        }
    report = Report(
        f'Targets {PEOPLE} x {KEYPOINTS} x 64 x 48 from the keypoints of people', agreement
    )
    for name, sides in calls.items():
        report.alternate(name, sides, args.rounds, per=PEOPLE)
    report.finish(args.out)


if __name__ == '__main__':
    main()
