import json

import pytest

from vitpose_mm.analysis import plot_logs, read_scalars
from vitpose_mm.analysis.logs import curve


def write(folder, name, *records):
    path = folder / name / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(record) for record in records))
    return path


def train(step, loss):
    return dict(loss_kpt=loss, epoch=1 + step // 100, iter=step, step=step)


def test_a_resumed_run_is_one_run(tmp_path):
    validated = [{'coco/AP': 0.1, 'step': 1}, {'coco/AP': 0.2, 'step': 2}]
    write(tmp_path, '20260101_000000', train(50, 3.0), train(100, 2.0), validated[0])
    # killed at 250, resumed from the checkpoint of 100
    write(tmp_path, '20260102_000000', train(150, 1.6), train(200, 1.5), validated[1])
    again = [train(150, 1.4), train(200, 1.3), train(250, 1.2)]
    write(tmp_path, '20260103_000000', *again)
    records = read_scalars(tmp_path)
    assert [r['loss_kpt'] for r in records if 'iter' in r] == [3.0, 2.0, 1.4, 1.3, 1.2]
    assert [r for r in records if 'iter' not in r] == validated


def test_picture_of_two_runs(tmp_path):
    first = write(tmp_path / 'a', 'start', train(50, 3.0), train(100, 2.0))
    validated = {'coco/AP': 0.5, 'loss_kpt': 2.5, 'step': 1}  # as ValidationLossHook has it
    write(tmp_path / 'b', 'start', train(50, 3.0), validated)
    out = tmp_path / 'new' / 'curves.png'
    points = plot_logs([first, tmp_path / 'b'], ['loss_kpt', 'coco/AP', 'val/loss_kpt'], out)
    assert points == {'loss_kpt': [2, 1], 'coco/AP': [0, 1], 'val/loss_kpt': [0, 1]}
    assert curve(read_scalars(tmp_path / 'b'), 'val/loss_kpt') == ([1], [2.5], False)
    assert out.read_bytes().startswith(b'\x89PNG')


def test_errors_name_what_is_wrong(tmp_path):
    log = write(tmp_path, 'start', train(50, 3.0))
    with pytest.raises(
        ValueError, match="no run has the key 'AP'; there are epoch, iter, loss_kpt"
    ):
        plot_logs([log], ['AP'], tmp_path / 'x.png')
    with pytest.raises(ValueError, match='nowhere is neither a log nor a working folder'):
        plot_logs([tmp_path / 'nowhere'], ['AP'], tmp_path / 'x.png')
    log.write_text('Epoch(train) [1][10/70]')
    with pytest.raises(ValueError, match='no log of scalars'):
        read_scalars(log)
