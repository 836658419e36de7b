"""Decoding heatmaps to keypoints: BatchedUDPHeatmap against mmpose's UDPHeatmap."""

import numpy as np
import torch
from common import OURS, PEER, SIZES, Report, parse_arguments, require_agreement
from mmpose.codecs import UDPHeatmap
from mmpose.utils.tensor_utils import to_numpy

from vitpose_mm.codecs import BatchedUDPHeatmap

PEOPLE = 64
TOLERANCE = 0.01  # input px
# The official code blurs otherwise than mmpose where the kernel of 11 px, around the neighbours of
# the maximum, reaches beyond the heatmap.
BORDER = 8


def made_up_heatmaps(num_people: int, num_keypoints: int) -> torch.Tensor:
    """Gaussians of sigma 2 and of different heights at random places, in noise."""
    generator = torch.Generator().manual_seed(0)
    size = (num_people, num_keypoints)
    keypoints = torch.rand(*size, 2, generator=generator) * torch.tensor([192.0, 256.0])
    heatmaps, _ = BatchedUDPHeatmap(**SIZES).batch_encode(keypoints, torch.ones(size))
    heights = 0.2 + 0.8 * torch.rand(*size, 1, 1, generator=generator)
    noise = 0.01 * torch.randn(heatmaps.shape, generator=generator)
    return heatmaps * heights + noise


def decode_by_person(codec: UDPHeatmap, heatmaps: torch.Tensor) -> tuple[list, list]:
    """What mmpose's heads do (``BaseHead.decode``)."""
    decoded = [codec.decode(person) for person in to_numpy(heatmaps, unzip=True)]
    keypoints, scores = zip(*decoded)
    return list(keypoints), list(scores)


def compare(codec: BatchedUDPHeatmap, peer: UDPHeatmap, heatmaps: torch.Tensor, border: int) -> str:
    """Keypoints at least ``border`` heatmap px from all borders must agree."""
    ours = torch.from_numpy(np.stack(codec.batch_decode(heatmaps)[0])).double()
    theirs = torch.from_numpy(np.stack(decode_by_person(peer, heatmaps)[0]))
    last = torch.tensor(SIZES['heatmap_size']) - 1
    place = theirs / torch.tensor(SIZES['input_size']) * last
    inside = ((place >= border) & (place <= last - border)).all(-1) if border else ...
    what = f'input px, keypoints {border} heatmap px from the borders' if border else 'input px'
    return f'{what}: ' + require_agreement(ours[inside], theirs[inside], TOLERANCE, what)


def main() -> None:
    args = parse_arguments(f'Time the decoding of heatmaps of {PEOPLE} people.', rounds=50)
    official, like_mmpose = (
        BatchedUDPHeatmap(**SIZES, variant=variant) for variant in ('official', 'mmpose')
    )
    peer = UDPHeatmap(**SIZES)
    batches = {number: made_up_heatmaps(PEOPLE, number) for number in (17, 133)}

    agreement = {}
    for number, heatmaps in batches.items():
        agreement[f'{number} keypoints, variant mmpose'] = compare(like_mmpose, peer, heatmaps, 0)
        agreement[f'{number} keypoints, variant official'] = compare(
            official, peer, heatmaps, BORDER
        )
    report = Report(f'Decoding UDP heatmaps {PEOPLE} x K x 64 x 48 by DARK', agreement)
    for number, made_up in batches.items():
        heatmaps = made_up.clone()
        report.alternate(
            f'K = {number}',
            {
                f'{OURS}, variant official': lambda h=heatmaps: official.batch_decode(h),
                f'{OURS}, variant mmpose': lambda h=heatmaps: like_mmpose.batch_decode(h),
                PEER: lambda h=heatmaps: decode_by_person(peer, h),
            },
            args.rounds,
            per=PEOPLE,
            # the network has just written them, for whoever decodes
            prepare=lambda h=heatmaps, source=made_up: h.copy_(source),
        )
    report.finish(args.out)


if __name__ == '__main__':
    main()
