"""What the project offers is all there, and `list` and `show` say of each what a user must know."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from study import reference
from study.cli import app
from trainables.core import catalog

PROMISED = {
    "losses": """
        CrossEntropy MSE MAE Huber Hinge Focal Consistency JensenShannon LogitPairing NTXent
        SupervisedContrastive TRADES MART RotationPrediction MaskedReconstruction
        InputGradientPenalty DetectionLoss AuxiliaryTask
    """,
    "weighters": """
        Fixed RandomWeights CoV LossTracker Uncertainty IMTLL DynamicWeightAverage GeometricMean
        SoftAdapt ReLoBRaLo SmoothTchebycheff FAMO Lagrangian GradientSimilarity GradNorm PCGrad
        GradVac CAGrad MGDA IMTLG AlignedMTL NashMTL UPGrad DualProj ConFIG FairGrad PCD OLAUX
    """,
    "architectures": """
        MLP ConvNet AllConv ResNet18 ResNet34 ResNet50 ResNet101 ResNet152 ResNet200 ResNet50D
        PreActResNet18 WideResNet ShakeShake PyramidNet DenseNet ResNeXt ViT FCN SeriesResNet LSTM
        Transformer SSDLite320MobileNetV3 FasterRCNNMobileNetV3 RetinaNetResNet50
    """,
    "data": """
        Digits MNIST FashionMNIST CIFAR10 CIFAR100 ImageNet ImageFolder UCR UEA TSER VOC COCO
    """,
    "views": """
        Clean GaussianNoise RandomCrop RandomFlip Cutout Mixup CutMix Rotate90 Compose Scaling
        TimeShift WindowSlice MaskValues OtherData Unlabelled Corruption AugMix AutoAugment
        RandAugment TrivialAugmentWide UniformPolicies AdversarialAutoAugment ReplayedPolicies
        FGSM BIM PGD MIFGSM DeepFool CarliniWagner APGD FAB Square AutoAttack EOT
    """,
    "corruptions": """
        GaussianNoise ShotNoise ImpulseNoise DefocusBlur GlassBlur MotionBlur ZoomBlur Snow Frost
        Fog Brightness Contrast ElasticTransform Pixelate JpegCompression SpeckleNoise GaussianBlur
        Spatter Saturate SeriesGaussianNoise SeriesImpulseNoise SegmentDropout BaselineDrift
        TimeWarp AmplitudeScaling LowPass
    """,
    "perturbations": """
        GaussianNoise ShotNoise MotionBlur ZoomBlur Snow Spatter Brightness Translate Rotate Tilt
        Scale SpeckleNoise GaussianBlur Shear
    """,
    "optimizers": "SGD Adam AdamW",
    "schedules": "Constant Cosine MultiStep",
    "benchmarks": "OnView CommonCorruptions Perturbations Calibration",
}
ALL = [(kind, name) for kind in PROMISED for name in catalog.names(kind)]
# An arXiv id, or the year of a paper that is named.
SOURCE = re.compile(r"\b\d{4}\.\d{4,5}(v\d)?\b|\b(17|19|20)\d\d\b")
# Labels of views, which `show` explains for all losses at once.
LABELS = {"target", "view", "views"}


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("kind", PROMISED)
def test_nothing_that_was_promised_is_missing(kind: str) -> None:
    assert set(PROMISED[kind].split()) <= set(catalog.names(kind))


@pytest.mark.parametrize("kind", PROMISED)
def test_list_has_a_sentence_on_each(kind: str) -> None:
    shown = call("list", kind)
    for name in catalog.names(kind):
        (line,) = re.findall(rf"^{name}: (.+)$", shown, re.MULTILINE)
        sentence = re.sub(r" \[[a-z, ]+\]$", "", line)
        assert sentence.endswith((".", "…`.")), f"{name}: the first sentence is longer than a line"
        assert len(line) <= 110
    for option in reference.COMMON[kind].defaults if kind in reference.COMMON else ():
        assert option in shown.rpartition("also take:")[2]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_show_names_every_setting_with_its_default(kind: str, name: str) -> None:
    found = json.loads(call("show", kind, name, "--json"))
    assert found["name"] == name
    settings = catalog.settings(kind, name)
    assert found["settings"] == json.loads(json.dumps(settings))
    shown = call("show", kind, name)
    for key in {**settings, **found["common"]}:
        assert re.search(rf"^  {key}  +\S", shown, re.MULTILINE), f"{key} has no line"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_text_explains_every_setting(kind: str, name: str) -> None:
    entry = reference.entry(kind, name)
    about = entry["about"].replace("\n", " ")
    for key in entry["settings"].keys() - (LABELS if kind == "losses" else {"box"}):
        words = rf"\b{key}\b|\b{key.replace('_', ' ')}\b"
        assert re.search(words, about), f"{name} does not say what {key} is"


@pytest.mark.parametrize(
    ("kind", "name"), [one for one in ALL if one[0] in ("losses", "weighters", "architectures")]
)
def test_a_method_names_its_source(kind: str, name: str) -> None:
    about = reference.entry(kind, name)["about"]
    assert SOURCE.search(about), f"{name} names no paper"


@pytest.mark.parametrize("kind", reference.COMMON)
def test_every_common_option_is_explained(kind: str) -> None:
    common = reference.COMMON[kind]
    assert common.meaning.keys() == common.defaults.keys()


def test_a_weighters_own_setting_hides_the_common_one() -> None:
    found = reference.entry("weighters", "LossTracker")
    assert found["settings"]["warmup"] == 30
    assert "warmup" not in found["common"]
    assert "refresh" in found["common"]


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("weighters", "CoV", "Reads: the losses' values\n"),
        ("weighters", "FAMO", "one forward pass"),
        ("weighters", "OLAUX", "Losses: at least 2"),
        ("weighters", "ConFIG", "Weights: may be negative"),
        ("weighters", "GradNorm", "Coefficients: a constant one of an auxiliary loss cancels"),
        ("losses", "MSE", "For: classification, regression"),
        ("losses", "TRADES", "Reads: the views that target and view name"),
        ("data", "TSER", "Task: regression"),
        ("attacks", "PGD", "Short form: pgd_<norm>_<eps>_<steps>"),
        ("attacks", "PGD", "of  clean"),
        ("schedules", "Cosine", "warmup_epochs  0"),
        ("augmentations", "Clean", "defaults\n  none"),
        ("methods", "trades", "arms: {my-label: trades}"),
        ("presets", "quickstart", "study: quickstart"),
    ],
)
def test_show_says_what_decides_the_use(kind: str, name: str, says: str) -> None:
    assert says in call("show", kind, name)


def test_list_marks_what_not_every_study_can_use() -> None:
    assert re.search(r"^MAE: .* \[regression\]$", call("list", "losses"), re.MULTILINE)
    assert re.search(r"^VOC: .* \[detection\]$", call("list", "data"), re.MULTILINE)
    weighters = call("list", "weighters")
    assert re.search(r"^MGDA: .* \[gradients\]$", weighters, re.MULTILINE)
    assert re.search(r"^CoV: .*\.$", weighters, re.MULTILINE)
    assert "uda: losses Consistency; views GaussianNoise\n" in call("list", "methods")
