"""Completion by TAB: what can follow a line, in the form that the shell inserts."""

import os
import subprocess
import sys

import pytest
from harness import command

from sobench.cli.complete import SHELLS
from sobench.config import files

CASES = [  # the line up to the cursor; words that its last word can become; words that it cannot
    ("sobench ", {"run ", "status ", "reproduce ", "show ", "data "}, {"complete "}),
    ("sobench rep", {"report ", "reproduce "}, {"run "}),
    ("sobench data f", {"fetch "}, {"list "}),
    ("sobench data fetch mn", {"mnist "}, set()),
    ("sobench status pract", {"practical/table-3 ", "practical/fig-2 "}, {"demo/digits "}),
    ("sobench status practical/table-3 bud", {"budget=", "budget.", "budgets="}, set()),
    ("sobench reproduce a", {"all "}, {"adam "}),
    ("sobench plan demo/digits --p", {"--power "}, {"--budget "}),
    ("sobench report --", {"--verify ", "--overview "}, {"--power "}),
    ("sobench open practical/t", {"practical/table-3 "}, {"demo/digits "}),
    ("sobench list m", {"models "}, {"optimizers "}),
    ("sobench list optimizers kf", {"kfac "}, set()),
    ("sobench check kf", {"kfac "}, set()),
    ("sobench show r", {"resnet32 ", "rmsprop "}, {"kfac "}),
    ("sobench bench ov", {"overhead "}, set()),
    ("sobench parity ad", {"adam ", "adahessian "}, {"adagrad "}),
    ("sobench parity adam --", {"--json "}, set()),
    ("sobench wandb s", {"sync "}, {"verify "}),
    ("sobench completion z", {"zsh "}, {"bash "}),
    ("sobench run experiment=pract", {"experiment=practical/table-3 "}, {"experiment=demo/digits "}),
    ("sobench run optimizer=", {"optimizer=sgd ", "optimizer=hf_gauss_newton "}, {"optimizer=digits "}),
    ("sobench run -m optimizer=sgd,ad", {"optimizer=sgd,adam ", "optimizer=sgd,adagrad "}, {"optimizer=sgd "}),
    ("sobench run optimizer=kfac optimizer.d", {"optimizer.damping=", "optimizer.dampening="}, {"optimizer.momentum="}),
    ("sobench run optimizer.", {"optimizer.lr=", "optimizer.nesterov="}, {"optimizer.betas=", "optimizer.name="}),
    ("sobench run optimizer=kfac optimizer.split=", {"optimizer.split=balanced ", "optimizer.split=equal "}, set()),
    ("sobench run optimizer=adam optimizer.amsgrad=t", {"optimizer.amsgrad=true "}, {"optimizer.amsgrad=false "}),
    ("sobench run model.activation=re", {"model.activation=relu "}, {"model.activation=tanh "}),
    ("sobench run dtype=", {"dtype=float32 ", "dtype=float64 "}, set()),
    ("sobench run drop_last=", {"drop_last=true ", "drop_last=false "}, set()),
    ("sobench run loss=sq", {"loss=squared_error ", "loss=squared_hinge "}, set()),
    ("sobench run evaluate.e", {"evaluate.every="}, {"evaluate.steps="}),
    ("sobench run sch", {"schedule=", "schedule."}, set()),
    ("sobench run hydra/launcher=j", {"hydra/launcher=joblib "}, set()),
    ("sobench run --c", {"--cfg "}, {"--help "}),
    ("sobench frob ", set(), {"kfac "}),
    ("sobench run seed=", set(), {"seed=0 "}),
]


@pytest.mark.parametrize("line, expected, absent", CASES, ids=[case[0] for case in CASES])
def test_completion(workplace, line, expected, absent):
    shown = command("complete", "zsh", line)
    found = set(shown.out.splitlines())
    assert shown.code == 0 and not shown.err and expected <= found and not absent & found
    current = "" if line.endswith(" ") else line.split()[-1]
    assert all(word.startswith(current) for word in found)
    assert set(command("complete", "fish", line).out.splitlines()) == {word.rstrip() for word in found}


def test_every_experiment_is_offered(workplace):
    shown = command("complete", "zsh", "sobench run experiment=")
    assert shown.out.splitlines() == [f"experiment={name} " for name in files.members("experiment")]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell(workplace, shell):
    assert command("completion", shell).out == SHELLS[shell] and f"complete {shell}" in SHELLS[shell]


def test_a_real_bash_completes(workplace):
    """The functions and the variables of bash, as at a press of TAB; bash breaks a word at an equals sign."""
    program = workplace / "sobench"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from sobench.cli import entry; entry()' \"$@\"\n")
    program.chmod(0o755)
    script = """
        source ./script
        try() { COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDS=(./sobench); COMPREPLY=(); _sobench
                printf '<%s>' "${COMPREPLY[@]}"; echo; }
        complete -p sobench; try './sobench status practical/table-'
        try './sobench run optimizer=kfa'; try './sobench frob x'
    """
    (workplace / "script").write_text(SHELLS["bash"])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=dict(os.environ), timeout=60)
    installed, names, member, nothing = done.stdout.splitlines()
    assert "-F _sobench sobench" in installed
    assert names == "<practical/table-1 ><practical/table-2 ><practical/table-3 >"
    assert member == "<kfac >" and nothing == "<>" and not done.stderr


def test_a_key_press_reads_no_yaml_and_imports_no_torch(workplace):
    program = (
        "import sys; from sobench.cli import main\n"
        "for line in ('sobench ', 'sobench status pr', 'sobench run optimizer=kfac optimizer.split=b'):\n"
        "    assert main(['complete', 'bash', line]) == 0\n"
        "print([name for name in ('torch', 'hydra', 'omegaconf', 'yaml', 'numpy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]" and "balanced " in done.stdout and not done.stderr
