"""What surrounds the model in training: optimizer groups, seeds, checkpoints, processes."""

from .annotation_files import check_annotation_files
from .checkpoint_hook import AtomicCheckpointHook, AtomicLocalBackend
from .data_check import CheckDataHook, DataError
from .dataset_evaluator import DatasetEvaluator
from .distributed import leave_processes, prepare_environment
from .launch import (
    build_runner,
    load_config,
    run_test,
    set_test_options,
    set_training_options,
    set_visualization,
)
from .layer_decay import LayerDepthDecayOptimWrapperConstructor, layer_scales
from .multi_dataset_sampler import MultiDatasetSampler, samples_per_epoch
from .reconstructions import ReconstructionHook
from .reproducibility import SampleIndex, SeedAugmentation, SeededSampler, SeedIterationHook
from .skipped_images import SkippedImagesHook
from .token_distillation import TokenDistillationHook, read_knowledge_tokens
from .validation_loss import ValidationLossHook
from .visualizer import DatasetPoseVisualizer

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'CheckDataHook',
    'DataError',
    'DatasetEvaluator',
    'DatasetPoseVisualizer',
    'LayerDepthDecayOptimWrapperConstructor',
    'MultiDatasetSampler',
    'ReconstructionHook',
    'SampleIndex',
    'SeedAugmentation',
    'SeedIterationHook',
    'SeededSampler',
    'SkippedImagesHook',
    'TokenDistillationHook',
    'ValidationLossHook',
    'build_runner',
    'check_annotation_files',
    'layer_scales',
    'leave_processes',
    'load_config',
    'prepare_environment',
    'read_knowledge_tokens',
    'run_test',
    'samples_per_epoch',
    'set_test_options',
    'set_training_options',
    'set_visualization',
]
