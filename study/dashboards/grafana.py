"""The Grafana dashboard of a study, made from the figures that it exports.

`grafana.json` beside this file is what `dashboard` gives, for those who provision from files:
`python -m study dashboard --out study/dashboards/grafana.json` writes it anew.
"""

from __future__ import annotations

from typing import Any

from study.monitor import exported

UID = "auxiliary-loss-studies"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF = '{study=~"$study"}'


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; its variables are the data source and the study."""
    trials, expected = exported("study_trials"), exported("study_expected_trials")
    ended = f'{trials}{{study=~"$study",state=~"COMPLETE|PRUNED|FAIL"}}'
    device_s = exported("study_device_seconds")
    panels = [
        _stat(
            "Progress",
            f"sum by (study) ({ended}) / sum by (study) ({expected}{_OF})",
            "percentunit",
        ),
        _stat("Time left", f"max by (study) ({exported('study_eta_seconds')}{_OF})", "s"),
        _stat("Failed", f"sum by (class) ({exported('study_failed')}{_OF})", by="{{class}}"),
        _stat("Retries", f"sum by (study) ({exported('study_retries')}{_OF})"),
        _stat("Halted", f"max by (study) ({exported('study_halted')}{_OF})"),
        _stat("Diverged", f"sum by (study) ({exported('study_diverged')}{_OF})"),
        _lines("Trials by state", f"sum by (state) ({trials}{_OF})", "{{state}}", stacked=True),
        _lines(
            "Best so far",
            f"max by (arm, metric) ({exported('study_best')}{_OF})",
            "{{arm}} {{metric}}",
        ),
        _lines(
            "Epochs per minute",
            f"60 * sum by (study) (rate({exported('study_reports')}{_OF}[5m]))",
            "{{study}}",
        ),
        _lines("Epochs by arm", f"sum by (arm) ({exported('study_epochs')}{_OF})", "{{arm}}"),
        _lines("Device time by arm", f"sum by (arm) ({device_s}{_OF})", "{{arm}}", unit="s"),
        _lines(
            "Devices at work",
            f"sum by (arm) (rate({device_s}{_OF}[5m]))",
            "{{arm}}",
            stacked=True,
        ),
    ]
    return {
        "uid": UID,
        "title": "Auxiliary-loss studies",
        "tags": ["ray", "study"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _study()]},
        "panels": _placed(panels),
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource"} | {
        "query": "prometheus"
    }


def _study() -> dict[str, Any]:
    query = f"label_values({exported('study_expected_trials')}, study)"
    return {
        "name": "study",
        "label": "Study",
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "study"},
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }


def _stat(title: str, query: str, unit: str = "short", by: str = "{{study}}") -> dict[str, Any]:
    return _panel("stat", title, query, by, unit) | {"gridPos": {"w": 4, "h": 4}}


def _lines(
    title: str, query: str, by: str, unit: str = "short", stacked: bool = False
) -> dict[str, Any]:
    found = _panel("timeseries", title, query, by, unit)
    if stacked:
        found["fieldConfig"]["defaults"]["custom"] = {
            "fillOpacity": 30,
            "stacking": {"mode": "normal"},
        }
    return found | {"gridPos": {"w": 12, "h": 8}}


def _panel(kind: str, title: str, query: str, by: str, unit: str) -> dict[str, Any]:
    return {
        "type": kind,
        "title": title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"datasource": _SOURCE, "expr": query, "legendFormat": by, "refId": "A"}],
    }


def _placed(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels with numbers, row after row on Grafana's 24 columns."""
    x, y = 0, 0
    for number, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if x + size["w"] > 24:
            x, y = 0, y + size["h"]
        panel["id"] = number
        panel["gridPos"] = size | {"x": x, "y": y}
        x += size["w"]
        if x == 24:
            x, y = 0, y + size["h"]
    return panels
