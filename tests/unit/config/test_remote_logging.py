from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import ConfigError, load


def problems(home: Path, **settings: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load({f"WINDSOCK__LOGGING__{name}": value for name, value in settings.items()}, home)
    return str(refused.value)


@pytest.mark.parametrize(
    "url", ["file:///mnt/share/logs", "s3://bucket", "s3://bucket/a/b", "gs://bucket/logs", "az://container/logs"]
)
def test_a_share_and_three_kinds_of_bucket_are_taken(tmp_path: Path, url: str) -> None:
    settings = load({"WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER": f"{url}/"}, tmp_path)
    assert settings.logging.remote_base_log_folder == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s4://bucket/logs", "did you mean s3://?"),
        ("wasb://container/logs", "did you mean az://?"),
        ("gcs://bucket", "did you mean gs://?"),
        ("fille:///mnt", "did you mean file://?"),
        ("/mnt/share", "did you mean file:///mnt/share?"),
        ("ftp://host/logs", "file://, s3://, gs:// or az://"),
        ("file://share/logs", "an absolute path: file:///mnt/share/logs"),
        ("s3:///logs", "names a bucket: s3://bucket/prefix"),
        ("s3://key:hunter2@bucket/logs", "credentials come from the environment"),
    ],
)
def test_another_address_is_refused_with_what_was_meant(tmp_path: Path, url: str, told: str) -> None:
    assert told in problems(tmp_path, REMOTE_BASE_LOG_FOLDER=url)


def test_shipping_without_a_place_to_ship_to_is_refused(tmp_path: Path) -> None:
    assert "needs logging.remote_base_log_folder" in problems(tmp_path, REMOTE_LOGGING="true")


@pytest.mark.parametrize("spelling", ["logs", "logs/", "other/../logs", "log%73", "link", "logs/remote", "link/remote"])
def test_shipping_onto_itself_is_refused_however_it_is_written(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "link").symlink_to("logs")
    told = problems(tmp_path, REMOTE_LOGGING="true", REMOTE_BASE_LOG_FOLDER=f"file://{tmp_path}/{spelling}")
    assert "is logging.base_log_folder itself or a folder in it" in told


def test_a_folder_beside_the_log_folder_is_none_in_it(tmp_path: Path) -> None:
    beside = f"file://{tmp_path}/logs-remote"
    environ = {"WINDSOCK__LOGGING__REMOTE_LOGGING": "true", "WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER": beside}
    assert load(environ, tmp_path).logging.remote_base_log_folder == beside


def test_a_connection_is_refused_since_there_are_none(tmp_path: Path) -> None:
    assert "there are no stored connections here" in problems(tmp_path, REMOTE_LOG_CONN_ID="aws_default")
