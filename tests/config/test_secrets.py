"""Values of environment variables that settings do not read: they are in no message and in no file."""

import pytest
from harness import SMALL, command

from sobench.config import secrets

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "GITHUB_PAT": "pat-9Qz",
    "DATABASE_URL": "postgres://reader:hunter2@db.example/main",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "SOBENCH_TOKEN": "tok-7Xy",
}
OWN = [
    "experiment=V",
    "optimizer=V",
    "+optimizer@instrument.companions.a=V",
    "logger.project=V",
    "logger.notes=V",
    "seed=V",
    "nonsense=V",
    "+nonsense=V",
    "~seed=V",
    "model.widths=[V]",
    "dataset={name:V}",
    "budgets.V=1",
    "runs=V",
    "runs=prefix/V/suffix",
]
HYDRA = [
    "hydra.run.dir=V",
    "hydra.job.name=V",
    "hydra.sweeper.tuned=V",
    "hydra.sweeper.jobs=V",
    "hydra.searchpath=[V]",
    "hydra/launcher=V",
    "hydra.mode=V",
    "--config-name=V",
]
FORMS = ["${oc.env:NAME}", "${oc.env:'NAME'}", "${oc.env:NAME,none}", "${ oc.env : NAME }"]


@pytest.fixture
def secret(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def written(folder) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return " ".join([*map(str, folder.rglob("*")), *(path.read_text(errors="replace") for path in files)])


def check(workplace, *words: str) -> str:
    """The command is refused in one line; no secret is in it, and nothing is written."""
    done = command("run", *words, "threads=1")
    assert done.code == 2 and len(done.errors) == 1, (words, done)
    assert not any(value in done.err + done.out + written(workplace) for value in SECRETS.values()), words
    assert not (workplace / "runs").exists(), words
    return done.err


@pytest.mark.parametrize("name", SECRETS)
def test_a_variable_outside_the_list_is_read_by_no_setting(workplace, secret, name):
    for word in (*OWN, *HYDRA):
        assert f"${{oc.env:{name}}}" in check(workplace, word.replace("V", f"${{oc.env:{name}}}")), word


@pytest.mark.parametrize("form", FORMS)
def test_in_whatever_form_it_is_written(workplace, secret, form):
    for word in ("experiment=V", "logger.project=V", "hydra.job.name=V"):
        check(workplace, "logger=wandb", word.replace("V", form.replace("NAME", "GITHUB_PAT")))


def test_a_name_that_is_put_together_is_refused_where_it_is_resolved(workplace, secret):
    words = ["logger=wandb", "logger.notes=GITHUB_PAT"]
    for key in ("logger.project", "runs", "seed"):
        assert "got ${oc.env:GITHUB_PAT}; allowed" in check(workplace, *words, f'{key}="${{oc.env:${{logger.notes}}}}"')
    check(workplace, *words, '+optimizer.x="${oc.env:${logger.notes}}"')


def test_hydra_copies_no_variable(workplace, secret):
    """Its setting env_copy makes the value of a variable a value of the configuration, without an interpolation."""
    for word in ("hydra.job.env_copy=[GITHUB_PAT]", "++hydra.job.env_copy=[GITHUB_PAT]"):
        assert "hydra.job.env_copy" in check(workplace, word, "l2=${hydra:job.env_set.GITHUB_PAT}")


def test_a_file_reads_no_variable_outside_the_list(workplace, secret):
    """A file of one's own is composed with the same rule; each error is one line."""
    folder = workplace / "conf/experiment"
    folder.mkdir(parents=True)
    for name, text in {
        "setting": "logger: {project: '${oc.env:DATABASE_URL}'}",
        "copied": "hydra: {job: {env_copy: [DATABASE_URL]}}\nl2: '${hydra:job.env_set.DATABASE_URL}'",
    }.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
        command_line = [f"experiment={name}", f"hydra.searchpath=[file://{workplace}/conf]", "logger=wandb"]
        done = command("run", *command_line, *SMALL)
        assert done.code == 2 and len(done.errors) == 1, done
        assert not any(value in done.err + done.out for value in SECRETS.values()), done
        assert not (workplace / "runs").exists()


def test_what_a_setting_may_read(workplace, monkeypatch):
    monkeypatch.setenv("SOBENCH_PLACE", "elsewhere")
    monkeypatch.setenv("HOME", str(workplace))
    done = command("run", *SMALL, "runs=${oc.env:HOME}/${oc.env:SOBENCH_PLACE}")
    assert done.code == 0 and list(workplace.glob("elsewhere/*/seed-0/config.yaml"))


def test_a_typed_secret_with_a_slash_is_refused_and_hidden(workplace, secret):
    """A shell has put the value in place of the variable's name."""
    value = SECRETS["AWS_SECRET_ACCESS_KEY"]
    done = command("run", *SMALL, "logger=wandb", f"logger.notes={value}")
    assert done.code == 2 and "the value of the environment variable AWS_SECRET_ACCESS_KEY" in done.err
    assert value not in done.err and secrets.hide(f"a {value} b") == "a *** b"


def test_the_path_of_a_key_is_no_secret(monkeypatch):
    monkeypatch.setenv("SSL_KEY_FILE", "/etc/ssl/private/key.pem")
    assert "SSL_KEY_FILE" not in secrets.secrets()
