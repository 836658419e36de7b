"""A ViT-Ti trained on the people of 300 images, by the usual schedule and by that for small data.

    python benchmarks/small_data.py --coco DIR --start deit_tiny_patch16_224.pth --parallel 2 \\
        --out benchmarks/results/small_data

Equal steps, batches, images and seeds; what `vitpose-mm new-dataset` writes without and with
--small-data, and with --parts that with one of its parts taken away. The images are the first by
the hash of their names.
"""

import argparse
import json
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from arms import COLUMNS, prepare, run_arms, study_parser
from mmengine.config import Config

from vitpose_mm import own_data

PARTS = ('EMA', 'freezing', 'mild augmentation')


def parse_arguments() -> argparse.Namespace:
    parser = study_parser(__doc__, 'small_data')
    parser.add_argument('--start', required=True, help='checkpoint of a DeiT-tiny')
    parser.add_argument('--images', type=int, default=300)
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--parts', action='store_true', help='also without one part at a time')
    return parser.parse_args()


def labels_of(root: Path, num_images: int, folder: Path) -> own_data.Labels:
    """The people of some images, in a file of their own."""
    labelled = own_data.read_labelled(root / 'person_keypoints_train.json', root / 'images')
    images = sorted(labelled.images, key=lambda image: sha256(image['file_name'].encode()).digest())
    ids = {image['id'] for image in images[:num_images]}
    chosen = replace(
        labelled,
        images=images[:num_images],
        annotations=[each for each in labelled.annotations if each['image_id'] in ids],
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{num_images}_images.json'
    path.write_text(json.dumps(own_data.to_coco(chosen)))
    val = root / 'person_keypoints_val.json'
    return own_data.Labels(str(path), str(root / 'images'), str(val))


def without(part: str, small: Config, usual: Config) -> Config:
    """The schedule for small data without one of its parts."""
    cfg = deepcopy(small)
    if part == 'EMA':
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'EMAHook']
    elif part == 'freezing':
        cfg.model.backbone.pop('frozen_stages')
    else:
        cfg.train_dataloader.dataset.pipeline = usual.train_dataloader.dataset.pipeline
    return cfg


def main() -> None:
    arguments = parse_arguments()
    work_dir = Path(arguments.work_dir)
    labels = labels_of(Path(arguments.coco), arguments.images, work_dir)
    configs = {}
    for small_data in (False, True):
        choices = own_data.Choices(
            input_hw=(128, 96),
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            small_data=small_data,
            start=arguments.start,
        )
        out = work_dir / f'{"small" if small_data else "usual"}_config'
        written = own_data.new_dataset(labels, choices, 'people', str(out))
        configs[small_data] = Config.fromfile(written.config)
    usual, small = configs[False], configs[True]
    named = {'usual': usual, 'small data': small}
    if arguments.parts:
        named.update({f'small data without {part}': without(part, small, usual) for part in PARTS})
    arms = {
        f'{name}, seed {seed}': prepare(deepcopy(cfg), seed)
        for seed in arguments.seeds
        for name, cfg in named.items()
    }
    columns = {name: key.replace('coco/', 'people/') for name, key in COLUMNS.items()}
    run_arms(
        arms,
        arguments.work_dir,
        columns,
        arguments.parallel,
        arguments.out,
        images=arguments.images,
        epochs=arguments.epochs,
        input='128x96',
    )


if __name__ == '__main__':
    main()
