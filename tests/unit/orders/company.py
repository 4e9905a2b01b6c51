"""A company with keys and a signed policy, to begin a test with."""

from __future__ import annotations

from pathlib import Path

from yinqi.orders.keys import Algorithm, PrivateKey
from yinqi.orders.policy_file import KEYS_FILE, POLICY_FILE, sign_policy

NAME = "银企示例有限公司"
# No approval up to 1,000.00, one checker up to 50,000.00, a checker and a director up to 1,000,000.00, nothing above.
RULES = """
[[rule]]
accounts = ["*"]
categories = ["*"]
currency = "CNY"
window_days = 7
allow_vouched = {allow_vouched}
tier = [
  {{ up_to = "1000.00" }},
  {{ up_to = "50000.00", needs = {{ checker = 1 }}, one_time_code = {needs_codes} }},
  {{ up_to = "1000000.00", needs = {{ checker = 1, director = 1 }} }},
]
"""
PEOPLE = {
    "erp": "maker",
    "zhang": "maker,checker",
    "li": "checker",
    "wang": "director",
    "sun": "clerk",
    "payment": "voucher",
}


class Company:
    """People, their keys and the policy directory `folder`. `zhang` signs with Ed25519, the others with SM2."""

    def __init__(self, folder: Path, *, allow_vouched: bool = False) -> None:
        self.folder = folder
        self.allow_vouched = allow_vouched
        self.needs_codes = False
        self.people = dict(PEOPLE)
        self.version = 1
        self.more = ""
        self.keys = {
            name: PrivateKey.generate(f"{name}-key", Algorithm.ED25519 if name == "zhang" else Algorithm.SM2)
            for name in PEOPLE
        }
        self.anchors = {name: PrivateKey.generate(f"{name}-policy") for name in ("chen", "zhou")}
        folder.mkdir(parents=True)
        anchors = "".join(self._key(name, key) for name, key in self.anchors.items())
        (folder / KEYS_FILE).write_text(anchors, "utf-8")
        self.publish()

    def publish(self, *signers: str) -> None:
        """Write the policy as it is now and have it signed, by both people unless others are named."""
        people = "".join(
            f'[[person]]\nname = "{name}"\nroles = {roles.split(",") if roles else []}\n'
            for name, roles in self.people.items()
        )
        keys = "".join(self._key(name, key) for name, key in self.keys.items())
        rules = RULES.format(allow_vouched=str(self.allow_vouched).lower(), needs_codes=str(self.needs_codes).lower())
        text = f'version = {self.version}\ncompany = "{NAME}"\n{people}{keys}{rules}{self.more}'
        (self.folder / POLICY_FILE).write_text(text, "utf-8")
        for old in self.folder.glob("*.sig"):
            old.unlink()
        for name in signers or self.anchors:
            sign_policy(self.folder, self.anchors[name])

    @staticmethod
    def _key(person: str, key: PrivateKey) -> str:
        return (
            f'[[key]]\nid = "{key.key_id}"\nperson = "{person}"\nalgorithm = "{key.algorithm}"\n'
            f'public_key = "{key.public_key().raw.hex()}"\n'
        )
