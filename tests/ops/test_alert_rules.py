"""Alert rules and the dashboard: what they ask for is there, they fire when they should, and each has its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.health import Meters
from domain.outcomes import Outcome, Reason
from domain.people import Channel
from domain.rulepacks import LANES
from infra.clock import SystemClock
from infra.gauges import StateCollector
from infra.kafka.settings import KafkaConfig
from infra.kafka.state import KafkaLane, KafkaState
from infra.runtime import Runtime
from infra.stores import Stores
from notifiers.absent import AbsentNotifier
from notifiers.channel import Result
from notifiers.failover import Provider, Providers
from tests.ops.locks import ROOT
from tests.ops.prometheus_part import promtool

OPS = ROOT / "infra" / "ops"
RULES = OPS / "prometheus" / "rules.yaml"
SELECTOR = re.compile(r"\b((?:fenghuo|process|python)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
SCRAPED = {"job", "instance"}  # labels that Prometheus adds itself


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((OPS / "grafana" / "fenghuo.json").read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [t["expr"] for panel in panels() for t in panel.get("targets", ())]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """By sample name each label with its values, as a program shows them that has counted something of each."""
    folder = tmp_path_factory.mktemp("shown")
    meters = Meters()
    clock = SystemClock()
    provider = Provider("sms", AbsentNotifier(Channel.SMS), clock)
    meters.watch(Providers([provider]))
    meters.answered("POST", "/callbacks/sms/inbound", 403, 0.1)
    meters.answered("GET", "/healthz", 500, 0.1)
    for outcome in Outcome:
        meters.sent(Channel.SMS, [Result(index=0, outcome=outcome, reason=Reason.TIMEOUT, provider="sms")], 0.1)
    meters.drilled.labels("sms", "accepted").inc()
    meters.appended(1, 0.1)
    meters.live.labels("console").set(0)
    stores = Stores(folder)
    stores.vault.secret("links")
    kafka = KafkaConfig(bootstrap="127.0.0.1:1")
    runtime = Runtime(stores, {}, "https://warn.example", providers=Providers([provider]), kafka=kafka)
    assert runtime.kafka_watch is not None
    runtime.kafka_watch.running = True
    lanes = tuple(KafkaLane(lane=lane, lag=0, workers=1) for lane in LANES)
    runtime.kafka_watch.latest = KafkaState(lanes=lanes, feed_position=0, dead_letters=0)
    meters.registry.register(StateCollector(stores, runtime))
    found = dict(_samples(meters.registry))
    stores.views.close()
    stores.prover.close()
    stores.vault.close()
    stores.log.recorder.datastore.close()  # type: ignore[attr-defined]
    return found


def _samples(registry: CollectorRegistry) -> Iterator[tuple[str, dict[str, set[str]]]]:
    labels: dict[str, dict[str, set[str]]] = {"up": {}, "fenghuo_part_running": {"part": {"follower"}}}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            of = labels.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                of.setdefault(name, set()).add(value)
    yield from labels.items()


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_what_is_asked_for_is_counted(expression: str, shown: dict[str, dict[str, set[str]]]) -> None:
    selectors = SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert name in shown, f"{name} is not among the metrics"
        for label, how, value in MATCHER.findall(matchers):
            assert label in shown[name].keys() | SCRAPED, f"{name} has no label {label}"
            if how in ("=", "=~") and label not in SCRAPED and label != "status":
                assert set(value.split("|")) <= shown[name][label], f"{name} has no {label} {value}"
    grouped = {w.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for w in by.split(",")}
    assert grouped <= {label for name, _ in selectors for label in shown[name]} | SCRAPED


def test_every_metric_of_ours_is_on_the_dashboard_or_in_a_rule(shown: dict[str, dict[str, set[str]]]) -> None:
    asked = {name for expression in expressions() for name, _ in SELECTOR.findall(expression)}
    ours = {name for name in shown if name.startswith("fenghuo_") and not name.endswith(("_count", "_sum", "_created"))}
    assert ours - asked == set()


def test_each_alert_has_a_severity_words_in_both_languages_and_a_section_in_the_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (Fenghuo\w+)$", page, re.MULTILINE)
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert sections == names, "docs/operations.md has a section for each alert, in the order of the rules"
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        said = rule["annotations"]
        assert said["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert re.search("[一-鿿]", said["summary_zh"])
        assert said["summary"].isascii()
        body = page.partition(f"### {rule['alert']}\n")[2].partition("\n### ")[0]
        assert len(body.split()) > 20, f"{rule['alert']} has no instructions"


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    found = json.loads((OPS / "grafana" / "fenghuo.json").read_text(encoding="utf-8"))
    assert found["uid"] == "fenghuo"
    assert [v["type"] for v in found["templating"]["list"]] == ["datasource"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


# Prometheus' own word -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool() -> Path:
    found = promtool()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("promtool cannot be had here")
        pytest.skip("promtool cannot be had here")
    return found


def test_prometheus_takes_the_rules(tool: Path) -> None:
    done = subprocess.run([tool, "check", "rules", RULES], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in done.stdout


Labels = dict[str, str]
CASES: list[tuple[str, str, Labels, str, str]] = [  # alert, metric, labels, a value each minute, when it fires
    ("FenghuoExtremeUnacknowledged", "fenghuo_unacknowledged_oldest_seconds", {"level": "red"}, "0+60x30", "12m"),
    ("FenghuoViewsLag", "fenghuo_views_lag_seconds", {}, "0+10x30", "9m"),
    ("FenghuoPartStopped", "fenghuo_part_running", {"part": "follower"}, "1x5 0x25", "8m"),
    ("FenghuoBreakerOpen", "fenghuo_provider_state", {"provider": "sms", "channel": "sms"}, "0x5 2x25", "8m"),
    ("FenghuoExtremeLaneWaits", "fenghuo_queue_oldest_seconds", {"lane": "extreme"}, "0x5 40x25", "7m"),
    ("FenghuoUnsigned", "fenghuo_log_unsigned_seconds", {}, "0+60x30", "8m"),
    ("FenghuoStationWithoutContact", "fenghuo_stations_without_contact", {}, "0x5 2x25", "20m"),
    ("FenghuoLaneWithoutWorkers", "fenghuo_kafka_lane_workers", {"lane": "extreme"}, "1x5 0x25", "9m"),
    ("FenghuoLaneLag", "fenghuo_kafka_lane_lag", {"lane": "normal"}, "0+100x40", "20m"),
    ("FenghuoDeadLetters", "fenghuo_kafka_dead_letters", {}, "0x5 1x25", "7m"),
    ("FenghuoDown", "up", {"job": "fenghuo"}, "1x5 0x25", "8m"),
]


@pytest.mark.parametrize(("alert", "metric", "labels", "values", "at"), CASES, ids=[case[0] for case in CASES])
def test_an_alert_fires_when_it_should_and_not_before(
    tool: Path, tmp_path: Path, alert: str, metric: str, labels: Labels, values: str, at: str
) -> None:
    series = metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
    rule = next(rule for rule in rules() if rule["alert"] == alert)
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [{**rule, "annotations": {}}]}]}), encoding="utf-8"
    )
    fires = {"eval_time": at, "alertname": alert, "exp_alerts": [{"exp_labels": {**rule["labels"], **labels}}]}
    calm = {"eval_time": "1m", "alertname": alert, "exp_alerts": []}
    case = {"interval": "1m", "input_series": [{"series": series, "values": values}], "alert_rule_test": [calm, fires]}
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}), encoding="utf-8"
    )
    done = subprocess.run(
        [tool, "test", "rules", tmp_path / "test.yaml"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
