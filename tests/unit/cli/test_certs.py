"""`yinqi certs`: makes what is missing, keeps what lasts, and says in words what is wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from yinqi.cli import app
from yinqi.kernel.clock import FixedClock, SystemClock
from yinqi.runtime.certificates import make_certificates
from yinqi.runtime.client_roles import load_client_roles
from yinqi.runtime.settings import GRPC_SERVICES

NAMES = (*GRPC_SERVICES, "client", "console")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("YINQI_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "tls"


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["certs", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_everything_is_made_once_and_then_kept(folder: Path) -> None:
    assert "ca, payment" in run("create")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert "nothing to do" in run("create")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert {f"{name}.crt" for name in NAMES} <= set(before)


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    run("create")
    assert {file.stat().st_mode & 0o777 for file in folder.glob("*.key")} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_renewing_keeps_the_authority_and_what_clients_may_do(folder: Path) -> None:
    run("create")
    authority, payment = (folder / "ca.crt").read_bytes(), (folder / "payment.crt").read_bytes()
    (folder / "clients.toml").write_text('[[client]]\nname = "client"\nroles = ["payment_viewer"]\n')
    assert "ca," not in run("create", "--renew")
    assert (folder / "ca.crt").read_bytes() == authority
    assert (folder / "payment.crt").read_bytes() != payment
    assert load_client_roles(folder / "clients.toml") == {"client": frozenset({"payment_viewer"})}


def test_what_ends_within_thirty_days_is_made_anew(folder: Path) -> None:
    old = FixedClock(SystemClock().now() - timedelta(days=336))
    make_certificates(folder, services=["payment"], clients={}, trust_domain="yinqi", clock=old)
    assert "payment" in run("create")
    certificate = x509.load_pem_x509_certificate((folder / "payment.crt").read_bytes())
    assert certificate.not_valid_after_utc - SystemClock().now() > timedelta(days=300)


def test_an_authority_from_elsewhere_is_left_alone(folder: Path) -> None:
    run("create")
    (folder / "ca.key").unlink()
    (folder / "payment.crt").unlink()
    assert "come from elsewhere" in " ".join(run("create", code=1).split())
    assert not (folder / "payment.crt").exists()


def test_a_service_answers_under_the_hosts_it_is_given(folder: Path) -> None:
    run("create", "--host", "pay.example.com", "--host", "10.1.2.3")
    text = run("show")
    for word in ("spiffe://yinqi/service/payment", "pay.example.com", "10.1.2.3", "spiffe://yinqi/client/client"):
        assert word in text
    assert "pay.example.com" not in run("show", str(folder / "client.crt")), "a client serves nobody"


def test_what_is_wrong_is_said_in_words_in_both_languages(folder: Path) -> None:
    assert "yinqi certs create" in run("show", code=1)
    run("create")
    (folder / "account.key").chmod(0o644)
    text = " ".join(run("show", code=1).split())
    assert "chmod 600" in text
    assert "人人可读" in text


def test_an_expired_certificate_is_shown_as_such(folder: Path) -> None:
    run("create")
    old = FixedClock(SystemClock().now() - timedelta(days=400))
    (folder / "gateway.crt").unlink()
    make_certificates(folder, services=["gateway"], clients={}, trust_domain="yinqi", clock=old)
    text = run("show", code=1)
    assert "expired on" in text
    assert "过期" in text


def test_secrets_have_the_shape_that_the_manifests_mount(folder: Path) -> None:
    run("create")
    listed = json.loads(run("secrets"))["items"]
    assert {item["metadata"]["name"] for item in listed} == {f"{name}-tls" for name in NAMES}
    assert {frozenset(item["data"]) for item in listed} == {frozenset({"tls.crt", "tls.key", "ca.crt"})}
