"""The policy in force: newer ones that two people signed are taken up while running, and nothing else ever is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from company import Company

from yinqi.orders.keys import PrivateKey
from yinqi.orders.policy_file import KEYS_FILE, POLICY_FILE, PolicyInvalid
from yinqi.orders.policy_watch import PolicyInForce


@pytest.fixture
def company(tmp_path: Path) -> Company:
    company = Company(tmp_path / "policy")
    company.version = 2
    company.publish()
    return company


@pytest.fixture
def policy(company: Company, tmp_path: Path) -> PolicyInForce:
    return PolicyInForce(company.folder, tmp_path / "remembered" / "version")


def looked(policy: PolicyInForce) -> object:
    """Two looks, for files are judged once they are still."""
    return policy.look() or policy.look()


def test_a_newer_version_is_taken_up_and_remembered(policy: PolicyInForce, company: Company, tmp_path: Path) -> None:
    assert looked(policy) is None
    company.people["li"], company.version = "", 3
    company.publish()
    assert looked(policy) is policy.current
    assert (policy.current.policy.version, policy.current.policy.roles["li"]) == (3, frozenset())
    assert looked(policy) is None
    company.version = 2
    company.publish()
    with pytest.raises(PolicyInvalid, match="version 2 is older than version 3"):
        PolicyInForce(company.folder, tmp_path / "remembered" / "version")


def one_signature(company: Company) -> str:
    company.version = 3
    company.publish("chen")
    return "valid are those of chen"


def strangers_signature(company: Company) -> str:
    company.version = 3
    company.publish()
    other = PrivateKey.generate("chen-policy")
    (company.folder / f"{POLICY_FILE}.chen-policy.sig").write_text(other.sign(b"", b"").signature.hex(), "ascii")
    return "valid are those of zhou"


def downgrade(company: Company) -> str:
    company.version = 1
    company.publish()
    return "version 1 is older than version 2"


def same_version(company: Company) -> str:
    company.people["sun"] = "checker"
    company.publish()
    return "was changed, yet it still says version 2"


def unsigned_byte(company: Company) -> str:
    with (company.folder / POLICY_FILE).open("ab") as file:
        file.write(b"# seen\n")
    return "valid are those of nobody"


def other_anchors(company: Company) -> str:
    company.version = 3
    company.anchors["chen"] = PrivateKey.generate("chen-policy")
    anchors = "".join(company._key(name, key) for name, key in company.anchors.items())
    (company.folder / KEYS_FILE).write_text(anchors, "utf-8")
    company.publish()
    return "read at the start of a service only"


def gone(company: Company) -> str:
    shutil.rmtree(company.folder)
    return "No such file"


@pytest.mark.parametrize(
    "change", [one_signature, strangers_signature, downgrade, same_version, unsigned_byte, other_anchors, gone]
)
def test_whatever_else_is_put_there_is_refused_once_and_the_old_stays(
    change: object, policy: PolicyInForce, company: Company
) -> None:
    before = policy.current
    words = change(company)  # type: ignore[operator]
    assert policy.look() is None, "the files may still be on their way"
    with pytest.raises(PolicyInvalid, match=words):
        policy.look()
    assert policy.look() is None, "it was said"
    assert policy.current is before


def test_a_changed_policy_under_the_same_version_is_refused_after_a_restart_too(
    policy: PolicyInForce, company: Company, tmp_path: Path
) -> None:
    same_version(company)
    with pytest.raises(PolicyInvalid, match="still says version 2"):
        PolicyInForce(company.folder, tmp_path / "remembered" / "version")
