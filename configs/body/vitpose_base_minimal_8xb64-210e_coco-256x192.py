_base_ = ['./vitpose_base_classic_8xb64-210e_coco-256x192.py']

model = dict(head=dict(type='TopdownHeatmapPixelShuffleHead'))
