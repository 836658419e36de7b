"""What files say of windows and relative positions, and what becomes of it elsewhere."""

import pytest
import torch
from tiny_models import heatmaps, images, load, plain, save

from vitpose_mm.checkpoints import CheckpointError, convert_file, inspect_file, load_file

VITDET = dict(attention=('window', 'shift', 'full'), window_hw=(2, 3), relative_positions=True)


def test_a_file_says_who_attends_to_whom(tmp_path):
    path = save(plain(**VITDET), tmp_path / 'ours.pth')
    arch = inspect_file(path)['arch']
    assert arch['attention'] == 'window 2x3, window 2x3 shifted, full'
    assert arch['relative_positions'] is True
    assert inspect_file(path)['problem'] is None
    parameters = sum(p.numel() for p in plain(**VITDET).parameters())
    assert inspect_file(path)['parameters'] == parameters
    arch = inspect_file(save(plain(), tmp_path / 'full.pth'))['arch']
    assert (arch['attention'], arch['relative_positions']) == ('full', False)


def test_round_trip_keeps_tables_and_notes(tmp_path):
    model = plain(**VITDET)
    path = save(model, tmp_path / 'ours.pth')
    convert_file(path, tmp_path / 'again.safetensors', 'vitpose_mm')
    inspected = inspect_file(tmp_path / 'again.safetensors')
    assert inspected['arch'] == inspect_file(path)['arch']
    again = load(plain(**VITDET), tmp_path / 'again.safetensors')
    assert torch.equal(heatmaps(again, images()), heatmaps(model, images()))


@pytest.mark.parametrize('to', ['official', 'mmpose', 'huggingface'])
def test_others_that_attend_in_full_would_compute_something_else(tmp_path, to):
    windowed = save(plain(filters=256, attention='window', window_hw=(2, 2)), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=f'{to} knows full attention only.*window 2x2'):
        convert_file(windowed, tmp_path / 'there.pth', to)
    with_tables = save(plain(filters=256, relative_positions=True), tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match=r'has no name for blocks\.0\.attn\.rel_pos_h'):
        convert_file(with_tables, tmp_path / 'there.pth', to)
    # the way that the error tells
    full = load(plain(filters=256), windowed)
    there = tmp_path / ('there' if to == 'huggingface' else 'there.pth')
    convert_file(save(full, tmp_path / 'full.pth'), there, to)
    assert there.exists()


def test_incomplete_tables_are_a_problem(tmp_path):
    model = plain(**VITDET)
    state = model.state_dict()
    del state['backbone.blocks.1.attn.rel_pos_w']
    torch.save(dict(state_dict=state), tmp_path / 'ours.pth')
    assert 'blocks.1.attn.rel_pos_w' in inspect_file(tmp_path / 'ours.pth')['problem']
    with pytest.raises(CheckpointError, match=r'missing: .*blocks\.1\.attn\.rel_pos_w'):
        load(plain(**VITDET), tmp_path / 'ours.pth')


def test_experts_and_tables_together(tmp_path):
    model = plain(experts=['a', 'b'], **VITDET)
    path = save(model, tmp_path / 'ours.pth')
    convert_file(path, tmp_path / 'merged.pth', 'vitpose_mm', dataset='a', merge_experts=True)
    merged = load(plain(**VITDET), tmp_path / 'merged.pth')
    with torch.no_grad():
        routed = model.backbone(images(), torch.zeros(4, dtype=torch.long))[0]
        torch.testing.assert_close(merged.backbone(images())[0], routed, atol=1e-6, rtol=1e-6)
    names = load_file(str(tmp_path / 'merged.pth'))['state_dict']
    assert 'backbone.blocks.2.attn.rel_pos_w' in names
