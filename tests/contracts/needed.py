"""Settings without which a component cannot be made: what its default cannot name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NEEDED: dict[str, dict[str, Any]] = {
    "ReplayedPolicies": {"file": str(Path(__file__).resolve().with_name("recording.jsonl"))}
}
