"""Bank keys belong to the gateway alone: every other service refuses to start if it is handed one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yinqi.kernel.errors import FailedPrecondition
from yinqi.runtime.settings import Settings, given_variables

_HOLDER = "gateway"
# The settings by which the gateway is handed bank keys, and what used to be one.
BANK_KEY_VARIABLES = frozenset(
    {"YINQI_GATEWAY_KEYS_DIR", "YINQI_GATEWAY_KEY_PASSWORD_FILE", "YINQI_GATEWAY_KEY_PASSWORD"}
)
_NOT_ANY_MORE = "YINQI_GATEWAY_KEY_PASSWORD"
_KEY_FILES = ("*.signing_key.pem", "*.sm4_key.hex", "*.pin")


class BankKeyMisplaced(FailedPrecondition):
    """A bank key, or the way to one, was given to a service that must not have it. It does not start."""


def check_custody(service: str, settings: Settings) -> None:
    """Return if the service was handed no more of the bank keys than is its own.

    Raises:
        BankKeyMisplaced: names the setting and what to do.
    """
    if service == _HOLDER:
        if given_variables([_NOT_ANY_MORE]):
            raise _misplaced(
                f"{_NOT_ANY_MORE} is set, but a password must not lie in the environment, where other programs read it. "
                "Put it into a file that only the gateway may read, and name that in YINQI_GATEWAY_KEY_PASSWORD_FILE.",
                "口令不得放在环境变量中，请写入仅前置机可读的文件，并用 YINQI_GATEWAY_KEY_PASSWORD_FILE 指定。",
            )
        return
    if handed := given_variables(BANK_KEY_VARIABLES):
        raise _misplaced(
            f"The {service} service was given {', '.join(handed)}. Bank keys belong to the gateway alone: take it out of "
            "this service's environment.",
            f"{service} 服务不得持有银行密钥，请从其环境中移除 {'、'.join(handed)}。",
        )
    for name, path in _paths(settings):
        if _holds_bank_key(path):
            raise _misplaced(
                f"YINQI_{name.upper()} of the {service} service leads to bank keys ({path}). They belong to the gateway "
                "alone: name another place, and put new keys in use if this service could read them.",
                f"{service} 服务的 YINQI_{name.upper()} 指向银行密钥，须改用其他路径；如密钥可能已泄露，请更换。",
            )


def _paths(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Every folder or file that a setting of the service names and that is there."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path):
            yield name, value
        elif isinstance(value, str) and "/" in value and "://" not in value:
            for one in value.split(","):
                yield name, Path(one.strip().replace("{var_dir}", str(settings.var_dir)))


def _holds_bank_key(path: Path) -> bool:
    try:
        if path.is_dir():
            return any(next(path.glob(pattern), None) is not None for pattern in _KEY_FILES)
        return any(path.match(pattern) for pattern in _KEY_FILES) and path.exists()
    except OSError:
        return False  # what cannot be read is not held


def _misplaced(words: str, words_zh: str) -> BankKeyMisplaced:
    return BankKeyMisplaced("BANK_KEY_MISPLACED", words, words_zh)
