"""RobustBench's JSON of one row of a study, so that its leaderboard's readers can compare.

One file per arm, threat model and dataset, with RobustBench's field names and its texts in percent.
What is called AutoAttack there is AutoAttack's standard version on all test examples and nothing
else: figures of our own PGD never stand under that key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .notes import provenance
from .statistics import mean_interval

# RobustBench's corruptions_acc is a mean over these and all five severities.
STANDARD_TYPES = frozenset(
    (
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    )
)
# What an AutoAttack with the exact settings calls itself.
STANDARD = "aa-standard"


def entries(made: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The file's path below a folder -> its content, from a study's tables.

    For every confirmed arm: <dataset>/<threat>/<study>-<arm>-<weighter>.json, threat being Linf, L2
    or L1 for each threat model that was attacked, or "corruptions". Means over seeds; the footnote
    says how many, which attacks were run, and what was seen that speaks against a figure.
    """
    study = made["studies"].to_pylist()[0]
    trials = {
        one["trial_id"]: one for one in made["trials"].to_pylist() if one["phase"] == "confirm"
    }
    arms: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in made["evaluations"].to_pylist():
        if row["trial_id"] in trials and row["split"] == "test" and row["value"] is not None:
            trial = trials[row["trial_id"]]
            arms.setdefault((trial["arm"], trial["weighter"]), []).append(row | {"trial": trial})
    found: dict[str, dict[str, Any]] = {}
    for (arm, weighter), rows in arms.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{study['name']}-{arm}-{weighter}")
        for threat, entry in _of_arm(study, f"{arm} x {weighter}", rows).items():
            found[f"{study['dataset'].lower()}/{threat}/{name}.json"] = entry
    return found


def write(made: Mapping[str, Any], target: Path) -> list[Path]:
    """Write the entries below `target` and return their paths."""
    paths = []
    for name, entry in entries(made).items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def _of_arm(study: dict[str, Any], arm: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = [row for row in rows if row["metric"] == "accuracy"]
    clean = [row for row in accuracy if row["family"] == "clean"]
    if not clean:
        return {}
    seeds = len({row["trial"]["seed"] for row in clean})
    common = {
        "link": None,
        "name": study["question"] or study["name"],
        "authors": None,
        # A view that brings examples of its own names their data.
        "additional_data": any(
            "data" in view
            for view in json.loads(clean[0]["trial"]["config_json"])["views"].values()
        ),
        "number_forward_passes": 1,
        "dataset": study["dataset"].lower(),
        "venue": "Unpublished",
        "architecture": clean[0]["trial"]["model"],
        "clean_acc": _percent(clean),
    }
    n, total = clean[0]["n_examples"], study["num_test"]
    part = "all" if n == total else f"{n:,} of" if total else f"{n:,}"
    counted = f"{part} {total:,} test examples" if total else f"{n:,} test examples"
    about = f"{arm}, mean over {seeds} seeds, {counted}; {provenance(study)}"
    found: dict[str, Any] = {}
    threats = {(row["norm"], row["eps_text"]) for row in accuracy if row["family"] == "adversarial"}
    for norm, eps in sorted(threats):
        mine = [row for row in accuracy if (row["norm"], row["eps_text"]) == (norm, eps)]
        exact = [
            row
            for row in mine
            if (row["protocol"] or "").startswith(STANDARD)
            and row["n_examples"] == study["num_test"]
        ]
        attacks = {
            name: _percent([row for row in mine if row["name"] == name])
            for name in dict.fromkeys(row["name"] for row in mine)
        }
        # What is said of attacks that the figure does not rest on is left to the footnote.
        doubts = sorted(_doubts(exact or mine))
        key = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
        # Several radii of one norm are several threat models.
        several = len({one for kind, one in threats if kind == norm}) > 1
        found[f"{key}_{eps.replace('/', '_')}" if several else key] = common | {
            "eps": eps,
            "reported": None,
            "autoattack_acc": _percent(exact) if exact else None,
            "unreliable": bool(doubts),
            "footnote": "; ".join(
                [
                    about,
                    *(f"{name}: {value}" for name, value in attacks.items()),
                    *sorted(_doubts(mine)),
                ]
            ),
        }
    for source in ("official", "generated"):
        corrupted = [
            row
            for row in accuracy
            if row["family"] == "corruption" and row["severity"] and row["source"] == source
        ]
        if not corrupted:
            continue
        mine = [row for row in corrupted if _type_of(row) in STANDARD_TYPES]
        kinds = {(_type_of(row), row["severity"]) for row in mine}
        whole = len(kinds) == 5 * len(STANDARD_TYPES) and all(
            row["n_examples"] == study["num_test"] for row in mine
        )
        mce = [row for row in rows if row["metric"] == "mce" and row["source"] == source]
        found["corruptions" if source == "official" else f"corruptions_{source}"] = common | {
            "eps": None,
            "corruptions_acc": _percent(mine) if whole else None,
            "corruptions_mce": _percent(mce) if mce and whole else None,
            "footnote": f"{about}; corruptions: {source}, {len(kinds)} of the "
            f"{5 * len(STANDARD_TYPES)} standard types and severities",
        }
    return found


def _type_of(row: dict[str, Any]) -> str:
    """The type of a row of one type and severity: fog of fog_3 and of fog_3_official."""
    return str(row["name"]).removesuffix("_official").removesuffix(f"_{row['severity']}")


def _doubts(rows: list[dict[str, Any]]) -> set[str]:
    return {f"{row['name']}: {row['unreliable_why']}" for row in rows if row["unreliable_why"]}


def _percent(rows: list[dict[str, Any]]) -> str:
    """The mean over all rows as RobustBench writes it: percent, two decimals, a text."""
    return f"{100 * mean_interval([row['value'] for row in rows]).mean:.2f}"
