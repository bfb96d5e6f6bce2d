"""Settings that make large components small enough for the contract tests."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "AllConv": {"channels": [8, 16], "dropout": 0.0},
    "AutoAttack": {"budget": 0.05},
    "CarliniWagner": {"steps": 40, "searches": 4, "rate": 0.05, "c": 1.0},
    "DenseNet": {"depth": 10, "growth": 6},
    "EOT": {"samples": 2},
    "FAB": {"steps": 20, "targets": 4},
    "FasterRCNNMobileNetV3": {"size": 64, "longest": 64},
    "PreActResNet18": {"channels": 8},
    "PyramidNet": {"depth": 8, "alpha": 12},
    "ResNet18": {"channels": 8},
    "ResNet34": {"channels": 8},
    "ResNet50": {"channels": 4, "zero_residual": True},
    "ResNet101": {"channels": 4, "zero_residual": True},
    "ResNet152": {"channels": 4, "zero_residual": True},
    "ResNet200": {"channels": 4, "zero_residual": True},
    "ResNet50D": {"channels": 4, "zero_residual": True},
    "ResNeXt": {"depth": 11, "cardinality": 2, "base_width": 4},
    "RetinaNetResNet50": {"size": 64, "longest": 64},
    "ShakeShake": {"depth": 8, "width": 8},
    "Square": {"queries": 250},
    "ViT": {"width": 16, "depth": 2, "heads": 2},
    "WideResNet": {"depth": 10, "widen": 1, "dropout": 0.1},
}
