"""`vitpose-mm new-dataset`: a config for keypoints of one's own."""

import argparse

from . import saying_errors

EXAMPLES = """examples:
  # labelled in COCO's format; a tenth of the pictures becomes the validation set
  vitpose-mm new-dataset labels.json --images photos/ --name climbers

  # with a validation set, ViT-S from the backbone of a published checkpoint
  vitpose-mm new-dataset train.json --images train/ --val val.json --val-images val/ \\
      --name climbers --start vitpose_small.pth

  # the same, beginning with COCO's decoder, too: keypoints of the same names are taken over
  ... --start vitpose_small.pth --start-head coco

  # a few hundred people
  ... --small-data --epochs 60 --batch-size 16

  # a further head beside COCO, on one backbone
  ... --beside-coco data/coco

  # other formats: LSP's joints.mat, a folder of YOLO-pose
  vitpose-mm new-dataset lspet/joints.mat --images lspet/images --name lsp_extended
  vitpose-mm new-dataset tigers/data.yaml --name tigers
"""
DESCRIPTION = """Read labelled keypoints and write a config that is ready to train.

Labels may be a file in COCO's format (also as CVAT, Label Studio and Roboflow export it), LSP's
joints.mat, or a folder or data.yaml of YOLO-pose. Out come OUT/NAME.py (the config, complete and
readable from top to bottom), OUT/NAME_keypoints.py (names, flip pairs, skeleton, sigmas; correct
what was guessed wrong) and, where labels had to be split, mended or translated,
OUT/NAME_{train,val}.json. Files that exist are not overwritten.
"""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        'new-dataset',
        help='write a config for keypoints of your own',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('labels', metavar='LABELS', help='file or folder with the labels')
    parser.add_argument('--images', metavar='DIR', help='folder of the images')
    parser.add_argument('--name', help="the data set's name (default: from LABELS)")
    parser.add_argument('--out', metavar='DIR', help='folder to write to (default: NAME)')
    parser.add_argument('--category', metavar='NAME', help='of several with keypoints, which')
    parser.add_argument(
        '--keypoints', nargs='+', metavar='NAME', help='their names, where LABELS has none'
    )
    val = parser.add_argument_group('validation set')
    val.add_argument('--val', metavar='LABELS', help='its labels')
    val.add_argument('--val-images', metavar='DIR', help='its images (default: those of --images)')
    val.add_argument(
        '--val-share',
        type=float,
        default=0.1,
        metavar='SHARE',
        help='without --val, the share of the images taken for it (default: %(default)s)',
    )
    model = parser.add_argument_group('model and schedule')
    model.add_argument(
        '--arch', choices=('tiny', 'small', 'base', 'large', 'huge'), help='(default: small)'
    )
    model.add_argument(
        '--decoder', choices=('classic', 'simple', 'minimal'), help='(default: classic)'
    )
    model.add_argument(
        '--input-size', default='256x192', metavar='HxW', help='px (default: %(default)s)'
    )
    model.add_argument('--epochs', type=int, default=210, help='(default: %(default)s)')
    model.add_argument('--batch-size', type=int, default=64, help='(default: %(default)s)')
    model.add_argument(
        '--small-data', action='store_true', help='a schedule for a few hundred people'
    )
    start = parser.add_argument_group('what the model begins with')
    start.add_argument(
        '--start', metavar='FILE', help='checkpoint of any source; says --arch (default: nothing)'
    )
    start.add_argument(
        '--start-head',
        metavar='NAME',
        help='begin with its decoder, too, and keypoints with those of the same name; NAME says '
        'whose they are: coco, aic, mpii, crowdpose, ap10k, apt36k, coco_wholebody, interhand2d, '
        'or a file with dataset_info',
    )
    start.add_argument(
        '--start-expert', metavar='NAME', help="of ViTPose++, whose expert (default: coco's)"
    )
    parser.add_argument(
        '--beside-coco',
        metavar='DIR',
        help="train COCO's people, too, with a head of their own; DIR has annotations/"
        'person_keypoints_{train,val}2017.json, train2017/ and val2017/',
    )
    parser.set_defaults(run=new_dataset, parser=parser)


@saying_errors
def new_dataset(arguments: argparse.Namespace) -> int:
    import shlex

    from vitpose_mm import own_data

    written = own_data.new_dataset(
        own_data.Labels(
            arguments.labels,
            arguments.images,
            arguments.val,
            arguments.val_images,
            arguments.val_share,
            arguments.category,
            arguments.keypoints,
        ),
        own_data.Choices(
            arguments.arch,
            arguments.decoder,
            own_data.parse_input_size(arguments.input_size),
            arguments.epochs,
            arguments.batch_size,
            arguments.small_data,
            arguments.start,
            arguments.start_head,
            arguments.start_expert,
            arguments.beside_coco,
        ),
        arguments.name,
        arguments.out,
    )
    for note in written.notes:
        print(f'- {note}')
    print(f'\n{", ".join(map(str, written.files))} written. What comes next:')
    config = shlex.quote(str(written.config))
    print(f'  vitpose-mm check {config}')
    print(f'  mim train vitpose_mm {config} --gpus 1')
    return 0
