"""`sobench runs`: the folders of runs, by their settings."""

from harness import SMALL, command, directories


def test_it_finds_the_folders_of_runs(workplace):
    assert command("runs").errors == ["sobench: runs: no runs under runs"]
    assert command("run", "-m", *SMALL, "optimizer=sgd", "optimizer.lr=0.1,0.2", "seed=0,1").code == 0
    found = command("runs", "optimizer.lr=0.2", "seed=1").out.split()
    assert found[0] in map(str, directories()) and found[1:] == ["done", "digits", "mlp", "sgd", "seed", "1"]
    lines = command("runs", "optimizer=sgd").out.splitlines()
    assert [line.split()[0] for line in lines] == [str(path) for path in directories()]
    assert sum("lr=0.1" in line for line in lines) == 2


def test_what_no_run_has_is_one_line(workplace):
    assert command("run", *SMALL).code == 0
    (line,) = command("runs", "optimizer.lrr=1").errors
    assert line.startswith("sobench: optimizer.lrr: no run has this setting, allowed: ")
    assert command("runs", "seed=7").errors == ["sobench: runs: no run under runs has all of seed=7"]
