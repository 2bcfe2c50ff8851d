"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import ConfigError, Settings, load, suspicions
from engine.config.sections import all_keys


def problems(home: Path, environ: dict[str, str] | None = None, file: str | None = None) -> list[str]:
    if file is not None:
        (home / "windsock.toml").write_text(file)
    with pytest.raises(ConfigError) as refused:
        load(environ or {}, home=home)
    return [problem.replace(str(home), "HOME") for problem in refused.value.problems]


def problem(home: Path, environ: dict[str, str] | None = None, file: str | None = None) -> str:
    (only,) = problems(home, environ, file)
    return only


def setting(home: Path, variable: str, value: str) -> Settings:
    return load({variable: value}, home=home)


class TestSources:
    def test_without_anything_set_the_defaults_hold(self, tmp_path: Path) -> None:
        settings = load({}, home=tmp_path)
        assert settings.core.parallelism == 32
        assert settings.core.dags_folder == tmp_path / "dags"
        assert settings.database.sql_alchemy_conn == f"sqlite:///{tmp_path}/windsock.db"
        assert settings.origins == {}

    def test_the_file_overrides_the_default(self, tmp_path: Path) -> None:
        (tmp_path / "windsock.toml").write_text("[core]\nparallelism = 4\nload_examples = false\n")
        settings = load({}, home=tmp_path)
        assert (settings.core.parallelism, settings.core.load_examples) == (4, False)
        assert settings.origins["core.parallelism"] == str(tmp_path / "windsock.toml")

    def test_the_environment_overrides_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "windsock.toml").write_text("[core]\nparallelism = 4\n")
        settings = setting(tmp_path, "WINDSOCK__CORE__PARALLELISM", "8")
        assert settings.core.parallelism == 8
        assert settings.origins["core.parallelism"] == "WINDSOCK__CORE__PARALLELISM"

    def test_case_does_not_matter_in_the_environment(self, tmp_path: Path) -> None:
        assert setting(tmp_path, "WINDSOCK__core__Parallelism", "8").core.parallelism == 8

    def test_an_alias_sets_the_key_that_it_stands_for(self, tmp_path: Path) -> None:
        assert setting(tmp_path, "WINDSOCK__CORE__DAG_CONCURRENCY", "3").core.max_active_tasks_per_dag == 3

    def test_an_alias_in_the_environment_overrides_the_name_in_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "windsock.toml").write_text("[core]\nmax_active_tasks_per_dag = 4\n")
        assert setting(tmp_path, "WINDSOCK__CORE__DAG_CONCURRENCY", "3").core.max_active_tasks_per_dag == 3

    def test_a_key_and_its_alias_together_are_refused(self, tmp_path: Path) -> None:
        environ = {"WINDSOCK__CORE__DAG_CONCURRENCY": "3", "WINDSOCK__CORE__MAX_ACTIVE_TASKS_PER_DAG": "4"}
        assert problem(tmp_path, environ) == (
            "core.max_active_tasks_per_dag is set more than once:"
            " core.dag_concurrency (WINDSOCK__CORE__DAG_CONCURRENCY) and"
            " core.max_active_tasks_per_dag (WINDSOCK__CORE__MAX_ACTIVE_TASKS_PER_DAG); keep one of them."
        )

    def test_every_key_can_be_set_to_its_default_by_its_variable(self, tmp_path: Path) -> None:
        for key in all_keys():
            text = ",".join(key.default) if isinstance(key.default, tuple) else str(key.default)
            settings = setting(tmp_path, key.variable, text)
            assert settings.origins == {key.dotted: key.variable}
            assert getattr(settings, key.section) == getattr(load({}, home=tmp_path), key.section)

    def test_settings_cannot_be_changed(self, tmp_path: Path) -> None:
        with pytest.raises(AttributeError):
            load({}, home=tmp_path).core.parallelism = 1  # type: ignore[misc]


class TestHome:
    def test_it_is_taken_from_the_environment(self, tmp_path: Path) -> None:
        assert load({"WINDSOCK_HOME": str(tmp_path)}).home == tmp_path

    @pytest.mark.parametrize("environ", [{}, {"WINDSOCK_HOME": ""}, {"WINDSOCK_HOME": "~/windsock"}])
    def test_it_is_in_the_users_home_otherwise(self, environ, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert load(environ).home == tmp_path / "windsock"

    def test_a_relative_one_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="must be an absolute path, not 'here'"):
            load({"WINDSOCK_HOME": "here"})


class TestNames:
    @pytest.mark.parametrize(
        ("variable", "said"),
        [
            ("WINDSOCK__CORE__PARALELISM", "There is no setting core.paralelism (*); did you mean core.parallelism?"),
            ("WINDSOCK__CORE__SMTP_HOST", "There is no setting core.smtp_host (*); did you mean smtp.smtp_host?"),
            ("WINDSOCK__CROE__PARALLELISM", "There is no section croe (*); did you mean core.parallelism?"),
            ("WINDSOCK__METRIC__X", "There is no section metric (*); did you mean metrics?"),
            ("WINDSOCK__CORE__QQQQ", "There is no setting core.qqqq (*)."),
            ("WINDSOCK__PARALLELISM", "* is not of the form WINDSOCK__SECTION__KEY."),
            ("WINDSOCK__CORE__", "* is not of the form WINDSOCK__SECTION__KEY."),
        ],
    )
    def test_an_unknown_variable_is_refused_with_what_was_perhaps_meant(self, variable, said, tmp_path: Path) -> None:
        assert problem(tmp_path, {variable: "1"}) == said.replace("*", variable)

    def test_an_unknown_key_in_the_file_names_the_file(self, tmp_path: Path) -> None:
        assert problem(tmp_path, file="[core]\nparallel = 1\n") == (
            "There is no setting core.parallel (HOME/windsock.toml); did you mean core.parallelism?"
        )

    def test_an_unknown_empty_section_is_refused(self, tmp_path: Path) -> None:
        assert problem(tmp_path, file="[metric]\n") == (
            "There is no section metric (HOME/windsock.toml); did you mean metrics?"
        )

    def test_a_key_outside_a_section_is_refused(self, tmp_path: Path) -> None:
        assert problem(tmp_path, file="parallelism = 1\n") == (
            "parallelism in HOME/windsock.toml must stand under a section such as [core]."
        )

    def test_other_variables_are_nobodys_business(self, tmp_path: Path) -> None:
        load({"WINDSOCK_HOME": "/x", "WINDSOCKS": "1", "AIRFLOW__CORE__X": "1", "WINDSOCK_X": "2"}, home=tmp_path)

    def test_everything_wrong_is_told_together(self, tmp_path: Path) -> None:
        found = problems(
            tmp_path,
            {"WINDSOCK__CORE__X": "1", "WINDSOCK__SMTP__SMTP_PORT": "0"},
            "[core]\nexecutor = 'Local'\n[nothing]\n",
        )
        assert len(found) == 4


class TestFile:
    def test_one_that_is_not_toml_is_refused_with_the_place(self, tmp_path: Path) -> None:
        said = problem(tmp_path, file="[core\n")
        assert said.startswith("HOME/windsock.toml is not valid TOML: ")
        assert "line 1" in said

    def test_one_that_is_not_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "windsock.toml").write_bytes(b"\xff\xfe")
        assert problem(tmp_path).startswith("HOME/windsock.toml is not valid TOML: ")

    def test_one_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "windsock.toml").mkdir()
        assert problem(tmp_path) == "HOME/windsock.toml cannot be read: Is a directory."


class TestConflicts:
    def test_two_kinds_of_tls_for_mail_exclude_one_another(self, tmp_path: Path) -> None:
        environ = {"WINDSOCK__SMTP__SMTP_SSL": "true", "WINDSOCK__SMTP__SMTP_STARTTLS": "true"}
        assert "exclude one another" in problem(tmp_path, environ)

    def test_two_servers_cannot_share_a_port(self, tmp_path: Path) -> None:
        assert problem(tmp_path, {"WINDSOCK__WEBSERVER__WEB_SERVER_PORT": "9090"}) == (
            "webserver.web_server_port and prometheus.port are both 9090; give each a port of its own."
        )

    def test_health_is_judged_over_more_than_one_heartbeat(self, tmp_path: Path) -> None:
        said = problem(tmp_path, {"WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "5"})
        assert said == (
            "scheduler.scheduler_health_check_threshold (5) must be longer than the heartbeats (5),"
            " or healthy processes would count as dead."
        )


def test_settings_load_without_heavy_libraries() -> None:
    heavy = "{'sqlalchemy', 'pendulum', 'rich', 'click', 'starlette', 'apprise', 'yaml'}"
    code = f"import sys, engine.config; engine.config.load({{}}); assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("WINDSOCK_HOM", "WINDSOCK_HOME"),
        ("WINDOCK_HOME", "WINDSOCK_HOME"),
        ("WINDSOK__CORE__PARALLELISM", "WINDSOCK__CORE__PARALLELISM"),
        ("WINDSOCK_SMTP__SMTP_HOST", "WINDSOCK__SMTP__SMTP_HOST"),
        ("WINDSOCK_SMTP__NO_SUCH_KEY", "WINDSOCK__SECTION__KEY"),
        ("WINDSOCK_SMTP_SMTP_HOST", "WINDSOCK__SMTP__SMTP_HOST"),
        ("AIRFLOW__SMTP__SMTP_HOST", "WINDSOCK__SMTP__SMTP_HOST"),
        ("AIRFLOW__CORE__DAG_CONCURRENCY", "WINDSOCK__CORE__MAX_ACTIVE_TASKS_PER_DAG"),
    ],
)
def test_a_variable_that_nearly_is_a_setting_is_suspected(variable: str, meant: str) -> None:
    assert suspicions({variable: "x"}) == [f"{variable} sets nothing; did you mean {meant}?"]


@pytest.mark.parametrize(
    "variable",
    ["WINDSOCK_HOME", "HOME", "AIRFLOW_HOME", "AIRFLOW__CORE__FERNET_KEY", "WINDOWS_HOME", "PATH", "SMTP__HOST"],
)
def test_a_variable_of_others_is_not_suspected(variable: str) -> None:
    assert suspicions({variable: "x"}) == []


@pytest.mark.parametrize(
    ("line", "hinted"), [("smtp_host = mail.example.org", True), ("smtp_host = ", True), ('smtp_host = "x', False)]
)
def test_text_without_quotes_is_told_to_be_put_in_some(tmp_path: Path, line: str, hinted: bool) -> None:
    assert problem(tmp_path, file=f"[smtp]\n{line}\n").endswith("Put text in quotes.") == hinted
