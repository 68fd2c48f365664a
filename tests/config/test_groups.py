"""Parameter groups in a configuration: their expressions, their settings, their identity and their names."""

from __future__ import annotations

import pytest

from sobench.config import groups, names
from sobench.config.grid import expand
from sobench.config.jobs import overrides
from sobench.config.match import Facts, parse
from sobench.errors import UsageError
from sobench.execution.inline import _values
from sobench.results.method_code import method

BIAS = Facts("blocks.0.bias", 1, frozenset({"bias", "linear"}))
KERNEL = Facts("stem.weight", 4, frozenset({"weight", "conv"}))
SCALE = Facts("blocks.0.norm.weight", 1, frozenset({"weight", "norm"}))


@pytest.mark.parametrize(
    ("text", "true_of"),
    [
        ("rest", "bks"),
        ("bias", "b"),
        ("not bias", "ks"),
        ("bias or norm", "bs"),
        ("weight and norm or bias", "bs"),  # and binds more
        ("weight and (norm or bias)", "s"),
        ("not weight or norm", "bs"),  # not binds most
        ("not (weight or bias)", ""),
        ("not not bias", "b"),
        ("ndim>=2", "k"),
        ("ndim < 2 and not norm", "b"),
        ("ndim != 4", "bs"),
        ('name ~ "blocks.*"', "bs"),
        ("name ~ 'blocks.?.bias' or ndim == 4", "bk"),
        ("name ~ *.weight and not norm", "k"),
    ],
)
def test_an_expression_is_true_of(text, true_of):
    test = parse(text, "key")
    assert "".join(word for word, one in (("b", BIAS), ("k", KERNEL), ("s", SCALE)) if test(one)) == true_of


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a word is missing at the end"),
        ("bias or", "a word is missing at the end"),
        ("bias and or norm", "a word is missing before 'or'"),
        ("bias norm", "'norm' is not expected there"),
        ("(bias", "a parenthesis is not closed"),
        ("bias)", r"'\)' is not expected there"),
        ("biass", "there is no 'biass'.*; did you mean 'bias'"),
        ("ndim", "ndim is compared with a whole number"),
        ("ndim = 2", "ndim is compared with a whole number"),
        ("ndim > 1.5", "'.' is not expected there"),
        ("2 < ndim", "there is no '2'"),
        ("name == x", "name is compared with a pattern"),
        ("name ~", "name is compared with a pattern"),
        ("__import__('os').getcwd()", "there is no '__import__'"),
        ("(" * 5000, "nested more than 20 deep"),
        ("not " * 5000 + "bias", "nested more than 20 deep"),
    ],
)
def test_a_mistake_in_an_expression_is_one_line(text, reason):
    with pytest.raises(UsageError, match=rf"^key: got .*{reason}") as raised:
        parse(text, "key")
    assert "allowed: bias, weight, norm" in str(raised.value) and "\n" not in str(raised.value)


def of(written: str, *words: str):
    (run,) = expand([f"optimizer.groups={written}", *words])
    return run


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("bias", r"groups: got 'bias', allowed: \[\{match: .EXPRESSION"),
        ("[bias]", r"groups\[0\]: got 'bias', allowed: \{match: EXPRESSION"),
        ("[{lr: 0.1}]", r"groups\[0\].match: got None, allowed: bias, weight"),
        ("{match: bias}", "groups: got {match: bias}, allowed: "),
        ("[{match: bias, weight_dcay: 0.1}]", r"groups\[0\].weight_dcay: no such key, .*'weight_decay'"),
        ("[{match: bias, weight_decay: -1}]", r"groups\[0\].weight_decay: got -1, allowed: a number of at least 0"),
        ("[{match: bias},{match: weight, optimizer: muonn}]", r"groups\[1\].optimizer: got 'muonn', .*'muon'"),
        ("[{match: bias, name: adam}]", r"groups\[0\].name: no such key, did you mean optimizer.groups\[0\].optimizer"),
        ("[{match: rest},{match: bias}]", r"groups\[0\].match: rest takes all parameters"),
        ("[{match: rest, optimizer: adam}]", "optimizer: got 'sgd', which has no parameters: .*optimizer=adam"),
        ("[{match: ndim >= 2}]", "not a setting; .*quotation marks"),
    ],
)
def test_a_mistake_in_the_groups_is_one_line(written, message):
    with pytest.raises(UsageError, match=message):
        of(written)


def test_without_groups_a_configuration_has_no_such_key():
    none = [of("[]"), of("null"), expand([])[0]]
    assert len({run.id for run in none}) == 1 and all("groups" not in run.config["optimizer"] for run in none)


def test_the_identity_has_what_a_group_states_and_the_defaults_of_its_optimizer():
    run = of(
        '[{match: "bias  or norm", lr: 1, momentum: 0.0}, {match: rest, optimizer: adam, lr: 0.5}]', "optimizer.lr=2"
    )
    first, second = run.config["optimizer"]["groups"]
    assert first == {"match": "bias or norm", "lr": 1}, "the momentum is that of the run"
    assert {key: value for key, value in second.items() if key != "defaults"} == {
        "match": "rest",
        "optimizer": "adam",
        "lr": 0.5,
    }
    assert {"betas", "eps", "weight_decay"} <= {*second["defaults"]} and "lr" not in second["defaults"]
    same = of("[{match: bias or norm, lr: 1.0},{match: rest,optimizer: adam,lr: 0.5,eps: 1e-8}]", "optimizer.lr=2")
    assert same.id == run.id
    assert of("[{match: bias or norm, lr: 1}]", "optimizer.lr=2").id != run.id
    assert expand(overrides(run.config))[0].id == run.id, "the overrides of a run compose it again"


def test_a_value_inside_a_group_can_be_swept():
    swept = expand(["optimizer.groups=[{match: bias, lr: 1}]", "optimizer.groups.0.lr=0.5,0.25"])
    whole = expand(["optimizer.groups=[{match: bias, lr: 0.5}],[{match: bias, lr: 0.25}]"])
    assert [run.id for run in swept] == [run.id for run in whole]
    assert [*names.names({run.id: run.config for run in whole}.copy()).values()] == [
        "digits mlp sgd groups=[bias: lr=0.5]",
        "digits mlp sgd groups=[bias: lr=0.25]",
    ]


def test_groups_in_python_are_one_value():
    written = _values("optimizer.groups", [{"match": 'name ~ "a*"', "optimizer": "adam"}, {"match": "rest"}])
    assert of(written).config["optimizer"]["groups"][0]["match"] == 'name ~ "a*"'


def test_the_code_of_every_group_is_in_the_fingerprint():
    plain, own, other = {"name": "sgd"}, {"match": "bias"}, {"match": "rest", "optimizer": "kfac"}
    digests = [method({"optimizer": plain | extra}) for extra in ({}, {"groups": [own]}, {"groups": [own, other]})]
    assert digests[0] == digests[1] != digests[2]
    assert groups.optimizers(plain | {"groups": [own, other]}) == ["sgd", "kfac"]


def test_a_preset_may_state_groups_which_a_run_can_replace_and_take_away():
    by_name, replaced, one_value, alone = (
        expand(["optimizer=muon", *words])[0].config["optimizer"]
        for words in (
            [],
            ["optimizer.groups=[{match: bias, lr: 1}]"],
            ["optimizer.groups.1.lr=0.5"],
            ["optimizer.groups=null"],
        )
    )
    assert [group.get("optimizer") for group in by_name["groups"]] == [None, "adamw"]
    assert replaced["groups"] == [{"match": "bias", "lr": 1}] and one_value["groups"][1]["lr"] == 0.5
    assert alone == groups.own(by_name) and alone["name"] == "torch.optim:Muon"


def test_a_preset_with_groups_is_itself_in_a_group():
    run = of("[{match: bias, optimizer: muon, lr: 1}]")
    (group,) = run.config["optimizer"]["groups"]
    assert (group["optimizer"], group["lr"], group["defaults"]["weight_decay"]) == ("torch.optim:Muon", 1, 0.01)
    assert not {"groups", "name"} & {*group["defaults"]}


def test_a_companion_has_no_groups():
    words = ["instrument=directions", "+optimizer@instrument.companions.a=muon"]
    with pytest.raises(UsageError, match=r"companions\.a\.groups: a companion moves the whole model; allowed: null"):
        expand(words)
    (run,) = expand([*words, "instrument.companions.a.groups=null"])
    assert run.config["instrument"]["companions"]["a"]["groups"] is None
