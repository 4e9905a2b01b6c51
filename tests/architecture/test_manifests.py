"""The manifests render, are valid Kubernetes, keep the house's policies and speak of settings that exist."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.architecture.roles import KNOWN_ROLES

from yinqi.runtime.client_roles import load_client_roles
from yinqi.runtime.settings import PORTS_DEFAULT, Settings
from yinqi.runtime.tls import files_of

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
KUBERNETES = "1.32"
SERVICES = ("payment", "account", "reconciliation", "monitoring", "gateway")
WORKLOADS = (*SERVICES, "sandbox-bank")
HEALTH_PORT = 7109
NAME = "app.kubernetes.io/name"

Manifest = dict[str, Any]


def render(folder: str | Path) -> str:
    """Return the manifests of a folder below k8s/, or of any folder given as an absolute path."""
    command = [BIN / "kubectl", "kustomize", str(ROOT / "k8s" / folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def demo() -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(render("overlays/demo")) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return every pod template of whatever kind, by the name of what makes it."""
    return {m["metadata"]["name"]: m["spec"]["template"] for m in manifests if "template" in m.get("spec", {})}


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, pod in pods(manifests).items():
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            yield name, container


def settings_of(manifests: list[Manifest]) -> Mapping[str, str]:
    (config_map,) = (m for name, m in of_kind(manifests, "ConfigMap").items() if name.startswith("yinqi-settings"))
    return {name: value or "" for name, value in config_map["data"].items()}


def settings_classes(service: str) -> list[type[Settings]]:
    if not (ROOT / f"services/yinqi/{service}/settings.py").exists():
        return [Settings]
    module = importlib.import_module(f"yinqi.{service}.settings")
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Settings)]
    return [Settings, *own]


def variables(kind: type[Settings]) -> set[str]:
    """Return the environment variables that a settings class reads."""
    names: set[str] = set()
    for field_name, field in kind.model_fields.items():
        alias = field.validation_alias
        if alias is None:
            names.add(f"YINQI_{field_name.upper()}")
        else:
            names.update(str(choice) for choice in getattr(alias, "choices", [alias]))
    return names


# --- valid ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["base", "overlays/demo"])
def test_manifests_render_and_are_strictly_valid(folder: str, tmp_path: Path) -> None:
    rendered = tmp_path / "all.yaml"
    rendered.write_text(render(folder), "utf-8")
    command = [BIN / "kubernetes-validate", "-k", KUBERNETES, "--strict", "--quiet", str(rendered)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_component_for_traces_fits_onto_the_base(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "traced"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [../../base]\ncomponents: [../../components/traces]\n")
    rendered = [manifest for manifest in yaml.safe_load_all(render(overlay)) if manifest]
    assert settings_of(rendered)["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://")
    assert "traces" in of_kind(rendered, "NetworkPolicy")


def test_an_overlay_only_chooses() -> None:
    for overlay in (ROOT / "k8s" / "overlays").glob("*/kustomization.yaml"):
        assert len(overlay.read_text("utf-8").splitlines()) <= 15, f"{overlay} does more than choose"


# --- what runs, and how it may run ----------------------------------------------------------------------------------


def test_each_service_and_the_bank_run_once(demo: list[Manifest]) -> None:
    sets = of_kind(demo, "StatefulSet")
    assert set(sets) == set(WORKLOADS)
    assert {name: m["spec"]["replicas"] for name, m in sets.items()} == dict.fromkeys(WORKLOADS, 1), (
        "a SQLite file has one writer"
    )


def test_the_base_holds_no_pretend_bank() -> None:
    assert "sandbox" not in render("base")


def test_processes_are_started_by_the_command_line_that_people_use(demo: list[Manifest]) -> None:
    from typer.main import get_command

    from yinqi.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, container in containers(demo):
        assert "command" not in container, "the image's entry point is yinqi"
        assert container["args"][0] in commands
        if name != "sandbox-bank":
            assert container["args"] == ["serve", name]


def test_no_process_has_more_rights_than_it_needs(demo: list[Manifest]) -> None:
    for name, pod in pods(demo).items():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] >= 10_000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert not pod["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert not [v for v in pod["spec"]["volumes"] if "hostPath" in v], name
    for name, container in containers(demo):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_the_namespace_refuses_pods_that_want_more(demo: list[Manifest]) -> None:
    labels = of_kind(demo, "Namespace")["yinqi"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_has_requests_and_limits(demo: list[Manifest]) -> None:
    for name, container in containers(demo):
        for bound in ("requests", "limits"):
            assert set(container["resources"][bound]) == {"cpu", "memory"}, name


def test_images_have_a_version(demo: list[Manifest]) -> None:
    for name, container in containers(demo):
        _, _, tag = container["image"].partition(":")
        assert tag, name
        assert tag != "latest", name


def test_pods_are_given_longer_to_end_than_the_program_takes_to_drain(demo: list[Manifest]) -> None:
    drain_s = float(settings_of(demo)["YINQI_DRAIN_GRACE_S"])
    for name, pod in pods(demo).items():
        assert pod["spec"]["terminationGracePeriodSeconds"] >= drain_s + 40, name


def test_service_links_are_off_because_they_make_variables(demo: list[Manifest]) -> None:
    # A Service named yinqi-payment would set YINQI_PAYMENT_PORT=tcp://…, which is one of our settings.
    for name, pod in pods(demo).items():
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_a_drain_moves_one_service_at_a_time(demo: list[Manifest]) -> None:
    (budget,) = of_kind(demo, "PodDisruptionBudget").values()
    selector = budget["spec"]["selector"]["matchLabels"].items()
    assert budget["spec"]["maxUnavailable"] == 1
    for name, pod in pods(demo).items():
        assert selector <= pod["metadata"]["labels"].items(), name


# --- probes and ports -----------------------------------------------------------------------------------------------


def test_every_container_has_three_probes_on_its_own_ports(demo: list[Manifest]) -> None:
    for name, container in containers(demo):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[kind]
            if "grpc" in probe:
                assert probe["grpc"]["port"] == ports["health"], f"{name}: probes speak no TLS"
                assert probe["grpc"].get("service", name) == name
            else:
                assert probe["httpGet"]["port"] in ports, name
                assert probe["httpGet"]["path"] == "/healthz", name


def test_ports_are_the_defaults_of_the_command_line(demo: list[Manifest]) -> None:
    services = of_kind(demo, "Service")
    for name, container in containers(demo):
        expected = {PORTS_DEFAULT[name.replace("-", "_")]}
        if name == "monitoring":
            expected.add(PORTS_DEFAULT["console"])
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports.pop("health", HEALTH_PORT) == HEALTH_PORT
        assert set(ports.values()) == expected
        assert {port["port"] for port in services[name]["spec"]["ports"]} == expected
        assert {port["targetPort"] for port in services[name]["spec"]["ports"]} == set(ports)


def test_services_select_their_own_pods(demo: list[Manifest]) -> None:
    for name, service in of_kind(demo, "Service").items():
        assert service["spec"]["selector"].items() <= pods(demo)[name]["metadata"]["labels"].items()
        selected = [
            p for p in pods(demo).values() if service["spec"]["selector"].items() <= p["metadata"]["labels"].items()
        ]
        assert len(selected) == 1


# --- settings -------------------------------------------------------------------------------------------------------


def test_every_variable_is_a_setting_of_the_service_that_gets_it(demo: list[Manifest]) -> None:
    for name, container in containers(demo):
        known = {v for kind in settings_classes(name.replace("-", "_")) for v in variables(kind)}
        given = {entry["name"] for entry in container.get("env", [])} | set(settings_of(demo))
        assert given <= known, f"{name}: {sorted(given - known)}"


@pytest.mark.parametrize("service", SERVICES)
def test_every_value_is_one_that_the_service_accepts(
    demo: list[Manifest], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = [c for name, c in containers(demo) if name == service]
    own = {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
    for name, value in {**settings_of(demo), **own}.items():
        monkeypatch.setenv(name, value)
    settings = settings_classes(service)[-1]()
    assert settings.listen_address(service) == f"0.0.0.0:{PORTS_DEFAULT[service]}"
    for sister in (*SERVICES, "sandbox_bank"):
        host = sister.replace("_", "-")
        assert settings.address_of(sister) == f"{host}:{PORTS_DEFAULT[sister]}"
        assert host in of_kind(demo, "Service")


def test_the_gateway_finds_the_bank_of_the_demo(demo: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    from yinqi.gateway.profile import load_profiles
    from yinqi.gateway.settings import GatewaySettings

    for name, value in settings_of(demo).items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings()
    (profile,) = load_profiles(settings.gateway_profiles_dir, settings.profile_placeholders())
    assert profile.url == "http://sandbox-bank:7106/cdc"


def test_what_is_written_lies_on_a_volume(demo: list[Manifest]) -> None:
    var_dir = settings_of(demo)["YINQI_VAR_DIR"]
    for name, container in containers(demo):
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {var_dir, "/tmp"} <= mounts, name
        folders = [e["value"] for e in container.get("env", []) if e["name"].endswith("_DIR")]
        for folder in folders:
            assert any(Path(folder).is_relative_to(mount) for mount in mounts), f"{name}: {folder}"


def test_bank_keys_are_seen_by_the_gateway_alone(demo: list[Manifest]) -> None:
    claims = {
        name: {v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v}
        for name, pod in pods(demo).items()
    }
    assert [name for name, claimed in claims.items() if "gateway-keys" in claimed] == ["gateway"]
    assert [name for name, claimed in claims.items() if "exchange" in claimed] == ["gateway", "sandbox-bank"]


def test_who_shares_a_volume_runs_on_the_same_node(demo: list[Manifest]) -> None:
    (term,) = pods(demo)["sandbox-bank"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"] == {NAME: "gateway"}


def test_secrets_are_not_in_the_manifests(demo: list[Manifest]) -> None:
    assert not of_kind(demo, "Secret")
    for _, container in containers(demo):
        for entry in container.get("env", []):
            if re.search(r"PASSWORD|TOKEN|SECRET|URLS", entry["name"]):
                assert "secretKeyRef" in entry["valueFrom"]


# --- certificates ---------------------------------------------------------------------------------------------------


def test_each_service_reads_its_own_certificate_and_nobody_elses(
    demo: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YINQI_DEV_IDENTITY_ENABLED")
    for name, value in settings_of(demo).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.tls_mode == "mutual"
    assert not settings.dev_identity_enabled
    assert settings.health_port == HEALTH_PORT
    for service in SERVICES:
        pod = pods(demo)[service]
        volumes = {v["name"]: v["secret"] for v in pod["spec"]["volumes"] if "secret" in v}
        (container,) = pod["spec"]["containers"]
        mounts = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"] if m["name"] in volumes}
        names = {service, "console"} if service == "monitoring" else {service}
        assert {secret["secretName"] for secret in mounts.values()} == {f"{name}-tls" for name in names}
        assert {secret["defaultMode"] for secret in mounts.values()} == {0o440}
        for name in names:
            files = files_of(settings, name)
            assert {str(files.certificate.parent), str(files.key.parent), str(files.authorities.parent)} <= set(mounts)


def test_the_roles_of_clients_can_be_read_and_are_roles_of_some_rpc(demo: list[Manifest], tmp_path: Path) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(of_kind(demo, "ConfigMap")["yinqi-clients"]["data"]["clients.toml"], "utf-8")
    clients = load_client_roles(file)
    assert {"client", "console", "erp"} <= set(clients)
    assert set().union(*clients.values()) <= set(KNOWN_ROLES)


def test_cert_manager_makes_the_secrets_that_are_mounted_with_the_names_that_are_known(
    demo: list[Manifest], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "certified"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../../base]\ncomponents: [../../components/cert-manager]\n"
    )
    rendered = [manifest for manifest in yaml.safe_load_all(render(overlay)) if manifest]
    made = {name: m["spec"] for name, m in of_kind(rendered, "Certificate").items() if name != "yinqi-authority"}
    mounted = {
        v["secret"]["secretName"] for pod in pods(demo).values() for v in pod["spec"]["volumes"] if "secret" in v
    }
    assert mounted <= {spec["secretName"] for spec in made.values()}
    issuers = of_kind(rendered, "Issuer")
    for name, spec in made.items():
        kind = "service" if name in SERVICES else "client"
        assert spec["uris"] == [f"spiffe://yinqi/{kind}/{name}"]
        assert spec["issuerRef"]["name"] in issuers
        assert ("server auth" in spec["usages"]) == (kind == "service")
        if kind == "service":
            assert name in spec["dnsNames"]


# --- who talks to whom ----------------------------------------------------------------------------------------------


def policies_for(demo: list[Manifest], name: str) -> list[Manifest]:
    labels = pods(demo)[name]["metadata"]["labels"].items()
    return [
        policy["spec"]
        for policy in of_kind(demo, "NetworkPolicy").values()
        if policy["spec"]["podSelector"].get("matchLabels", {}).items() <= labels
    ]


def reaches(demo: list[Manifest], name: str) -> set[tuple[str, int]]:
    return {
        (peer["podSelector"]["matchLabels"][NAME], port["port"])
        for policy in policies_for(demo, name)
        for rule in policy.get("egress", [])
        for peer in rule["to"]
        if "podSelector" in peer
        for port in rule["ports"]
    }


def is_reached_by(demo: list[Manifest], name: str) -> set[tuple[str, int]]:
    return {
        (peer["podSelector"]["matchLabels"].get(NAME, "clients"), port["port"])
        for policy in policies_for(demo, name)
        for rule in policy.get("ingress", [])
        for peer in rule["from"]
        if "podSelector" in peer
        for port in rule["ports"]
    }


def test_what_is_not_allowed_is_denied(demo: list[Manifest]) -> None:
    deny = of_kind(demo, "NetworkPolicy")["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_only_the_gateway_reaches_the_bank(demo: list[Manifest]) -> None:
    assert is_reached_by(demo, "sandbox-bank") == {("gateway", 7106)}
    assert [name for name in WORKLOADS if ("sandbox-bank", 7106) in reaches(demo, name)] == ["gateway"]
    assert reaches(demo, "sandbox-bank") == set()


# Read from the code: services/yinqi/<service>/main.py, and the console for monitoring.
CALLS = {
    "payment": {"monitoring", "gateway"},
    "account": {"payment", "gateway"},
    "reconciliation": {"payment", "account"},
    "monitoring": {"payment", "account", "reconciliation", "gateway"},
    "gateway": {"sandbox-bank"},
}


@pytest.mark.parametrize("service", SERVICES)
def test_services_reach_the_sisters_they_call_and_nobody_else(demo: list[Manifest], service: str) -> None:
    reached = reaches(demo, service)
    assert {name for name, _ in reached} == CALLS[service]
    for sister, port in reached:
        assert port == PORTS_DEFAULT[sister.replace("-", "_")]
        assert (service, port) in is_reached_by(demo, sister), f"{sister} does not let {service} in"


# --- the image ------------------------------------------------------------------------------------------------------


def test_the_image_runs_yinqi_as_the_user_of_the_manifests(demo: list[Manifest]) -> None:
    text = (ROOT / "k8s" / "Containerfile").read_text("utf-8")
    final_stage = text[text.rindex("\nFROM ") :]
    assert "ARG BASE=" in text
    assert "FROM ${BASE}\n" in final_stage
    assert 'ENTRYPOINT ["yinqi"]' in final_stage
    user = re.search(r"^USER (\d+):(\d+)$", final_stage, re.MULTILINE)
    assert user is not None
    for pod in pods(demo).values():
        security = pod["spec"]["securityContext"]
        assert (str(security["runAsUser"]), str(security["fsGroup"])) == user.groups()


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    text = (ROOT / "k8s" / "Containerfile").read_text("utf-8")
    allowed = [
        line[1:]
        for line in (ROOT / "k8s" / "Containerfile.containerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, f"{source} is hidden from the build"
