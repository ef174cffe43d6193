from pathlib import Path

import pytest

from runtime.errors import UsageError
from server.settings import ApiKey, Settings, load_settings, unknown_variables


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_environment_is_read_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_PORT", "9000")
    monkeypatch.setenv("VERNIER_HOST", "0.0.0.0")
    monkeypatch.setenv("VERNIER_GALLERY", "")
    settings = load_settings(port=9001, host=None)
    assert (settings.port, settings.host, settings.gallery) == (9001, "0.0.0.0", None)


def test_every_mistake_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_PORT", "many")
    monkeypatch.setenv("VERNIER_MAX_PIXELS", "-1")
    monkeypatch.setenv("VERNIER_API_KEYS", "read:tooshort")
    with pytest.raises(UsageError) as error:
        load_settings()
    for name in ("VERNIER_PORT", "VERNIER_MAX_PIXELS", "VERNIER_API_KEYS"):
        assert name in str(error.value)
    assert "tooshort" not in str(error.value)


def test_keys_are_read_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_API_KEYS", "read:0123456789abcdef, write:fedcba9876543210,plain-key-0123456789")
    settings = load_settings()
    assert [key.scope for key in settings.api_keys] == ["read", "write", "read"]
    assert settings.api_keys[0] == ApiKey.parse("0123456789abcdef")
    assert "0123456789abcdef" not in repr(settings)
    assert "digest" not in repr(settings)


def test_keys_are_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "keys"
    secret.write_text("read:0123456789abcdef\nwrite:fedcba9876543210\n")
    monkeypatch.setenv("VERNIER_API_KEYS_FILE", str(secret))
    monkeypatch.setenv("VERNIER_API_KEYS", "")
    assert load_settings().api_keys == (ApiKey.parse("0123456789abcdef"), ApiKey.parse("write:fedcba9876543210"))


@pytest.mark.parametrize(
    ("body", "beside", "complaint"),
    [
        (b"\n", "", "holds no key"),
        (None, "", "cannot be read: No such file"),
        (b"read:\xff0123456789abcdef", "", "not ASCII"),
        (b"read:0123456789abcdef", "read:0123456789abcdef", "leave one of the two unset"),
    ],
)
def test_a_file_of_keys_that_gives_none_never_opens_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes | None, beside: str, complaint: str
) -> None:
    secret = tmp_path / "keys"
    if body is not None:
        secret.write_bytes(body)
    monkeypatch.setenv("VERNIER_API_KEYS_FILE", str(secret))
    monkeypatch.setenv("VERNIER_API_KEYS", beside)
    with pytest.raises(UsageError, match=complaint):
        load_settings()


def test_misspelt_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_PROT", "80")
    monkeypatch.setenv("VERNIER_PORT", "80")
    monkeypatch.setenv("VERNIER_API_KEY", "of the client and the load tests")
    assert unknown_variables() == ["VERNIER_PROT"]
