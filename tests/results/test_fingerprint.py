"""Fingerprints: results of older code, or of other data, are told apart, and of the same code are not."""

import json
import shutil
import sys
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import sobench
from sobench.config import registry
from sobench.config.modules import module_file
from sobench.data.sources import File, Source
from sobench.data.store import Store
from sobench.results import method_code
from sobench.results.fingerprint import data, fingerprint, recorded
from sobench.results.method_code import Reference, Sources, method, sources
from sobench.results.stale import is_earlier, why

OPTIMIZER = '''"""About it."""
import math as m
import torch.nn.functional as F
from torch import Tensor
from . import parts
from theirs.deep import help_out, unused


class Theirs:
    """A method."""

    rate: float = 0.5

    def __init__(self, params, lr: float = 1.0):
        self._seen = 0
        self.lr = lr

    def step(self, f) -> Tensor:
        value = parts.half(f())  # half of it
        if value < 0:
            raise ValueError(f"got {value}")
        self._seen += 1
        return self._scaled([help_out(x) for x in F.relu(value)])

    def _scaled(self, values):
        return m.sqrt(self.lr) * values
'''
PARTS = "FACTOR = 2\n\n\ndef half(x):\n    return x / FACTOR\n\n\ndef other(x):\n    return x\n"
DEEP = "def help_out(x):\n    return x + 1\n\n\ndef unused(): ...\n"


@pytest.fixture
def theirs(plugins):
    """digest(**files): the digest of a plug-in's method whose files have these texts."""
    texts = {"opt": OPTIMIZER, "parts": PARTS, "deep": DEEP, "alone": "x = 1\n", "__init__": ""}
    site = plugins(
        "theirs", {f"theirs/{name}.py": text for name, text in texts.items()}, {"theirs": "theirs.opt:Theirs"}
    )

    def digest(**changed: str) -> str:
        for name, text in {**texts, **changed}.items():
            (site / "theirs" / f"{name}.py").write_text(text)
        method_code.forget()
        return method({"optimizer": {"name": "theirs"}})

    yield digest
    method_code.forget()


def swap(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


# A plug-in: what counts


@pytest.mark.parametrize(
    "changes",
    [
        {"opt": [("f()", "f() + 1")]},
        {"opt": [("relu", "elu")]},
        {"opt": [("sqrt", "exp")]},
        {"opt": [("lr: float = 1.0", "lr: float = 2.0")]},
        {"opt": [("rate: float = 0.5", "rate: float = 1.5")]},
        {"opt": [("lr", "rate_of_learning")]},
        {"opt": [("ValueError", "TypeError")]},
        {"opt": [("help_out(x) for", "help_out(value) for")]},
        {"opt": [("parts.half", "parts.other")]},
        {"opt": [("help_out(x)", "unused(x)")]},
        {"parts": [("FACTOR = 2", "FACTOR = 3")]},
        {"parts": [("FACTOR = 2", "FACTOR = 2.0")]},
        {"parts": [("x / FACTOR", "FACTOR / x")]},
        {"deep": [("+ 1", "- 1")]},
    ],
    ids=str,
)
def test_a_change_of_what_is_used_counts(theirs, changes):
    texts = {"opt": OPTIMIZER, "parts": PARTS, "deep": DEEP}
    assert theirs() != theirs(**{name: swap(texts[name], *pairs) for name, pairs in changes.items()})
    assert "theirs" not in sys.modules


@pytest.mark.parametrize(
    "changes",
    [
        {"opt": [("About it.", "About something else."), ("  # half of it", ""), ('    """A method."""\n', "")]},
        {"parts": [("    return x / FACTOR", '    "Of x."\n    return (x /\n            FACTOR)')]},
        {
            "opt": [
                ("import math as m\n", ""),
                ("from torch import Tensor\n", "from torch import Tensor\nimport math as m\n"),
            ]
        },
        {"opt": [("import math as m", "import math"), ("m.sqrt", "math.sqrt")]},
        {"opt": [("import math as m", "from math import sqrt as root"), ("m.sqrt", "root")]},
        {"opt": [("import torch.nn.functional as F", "from torch import nn"), ("F.relu", "nn.functional.relu")]},
        {"opt": [("from . import parts", "from .parts import half as by_two"), ("parts.half", "by_two")]},
        {"opt": [("from . import parts", "import theirs.parts"), ("parts.half", "theirs.parts.half")]},
        {
            "opt": [
                ("from . import parts\n", ""),
                ("        value = ", "        from theirs import parts\n\n        value = "),
            ]
        },
        {"opt": [(" -> Tensor", ""), ("lr: float = 1.0", "lr: int = 1.0"), ("rate: float", "rate: 'Tensor'")]},
        {
            "opt": [
                (
                    "from torch import Tensor",
                    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor",
                )
            ]
        },
        {"opt": [("got {value}", "allowed: above 0")]},
        {"opt": [("value", "worth"), ("worths", "values")]},
        {"opt": [("[help_out(x) for x", "[help_out(one) for one")]},
        {"opt": [("_seen", "_count"), ("_scaled", "_times")]},
        {"opt": [("class Theirs", "def beside(x):\n    return 3\n\n\nclass Theirs")]},
        {"parts": [("FACTOR", "DIVISOR")]},
        {"parts": [("FACTOR = 2", "FACTOR: int = 2")]},
        {"parts": [("half", "by_two")], "opt": [("half(f", "by_two(f")]},
        {"parts": [("def other(x):\n    return x", "def other(x):\n    return 2 * x")]},
        {"deep": [("def unused(): ...", "def unused(): return 1")]},
        {"alone": [("1", "2")]},
    ],
    ids=str,
)
def test_what_changes_no_result_does_not_count(theirs, changes):
    texts = {"opt": OPTIMIZER, "parts": PARTS, "deep": DEEP, "alone": "x = 1\n"}
    assert theirs() == theirs(**{name: swap(texts[name], *pairs) for name, pairs in changes.items()})


def test_definitions_may_move_and_modules_merge(theirs):
    first = theirs()
    moved = swap(OPTIMIZER, ("from . import parts", "from .alone import half"), ("parts.half", "half"))
    assert first == theirs(opt=moved, alone=PARTS, parts="")
    assert first == theirs(opt=OPTIMIZER, parts="from theirs.alone import half as half\n", alone=PARTS)  # a re-export
    merged = swap(
        OPTIMIZER, ("from . import parts\n", ""), ("parts.half", "half"), ("class Theirs", PARTS + "\n\nclass Theirs")
    )
    assert first == theirs(opt=merged, parts="")
    at_the_top = swap(OPTIMIZER, ("from . import parts", "import theirs"), ("parts.half", "theirs.half"))
    assert first == theirs(opt=at_the_top, __init__="from .parts import half\n")


def test_a_local_variable_may_shadow_a_function(theirs):
    shadow = swap(
        OPTIMIZER, ("        value = parts.half(f())", "        help_out = abs\n        value = parts.half(f())")
    )
    changed = swap(DEEP, ("+ 1", "+ 2"))
    assert theirs(opt=shadow) == theirs(opt=shadow, deep=changed)
    inner = "def half(x):\n    def inner(FACTOR):\n        return FACTOR\n    return inner(x) / FACTOR\n\nFACTOR = 2\n"
    assert theirs(parts=inner) != theirs(parts=swap(inner, ("FACTOR = 2", "FACTOR = 3")))
    whole = swap(inner, ("inner(x) / FACTOR", "inner(x)"))
    assert theirs(parts=whole) == theirs(parts=swap(whole, ("FACTOR = 2", "FACTOR = 3")))
    comprehension = "def half(x):\n    return [FACTOR for FACTOR in x]\n\nFACTOR = 2\n"
    assert theirs(parts=comprehension) == theirs(parts=swap(comprehension, ("FACTOR = 2", "FACTOR = 3")))
    outside = swap(comprehension, ("in x", "in FACTOR"))
    assert theirs(parts=outside) != theirs(parts=swap(outside, ("FACTOR = 2", "FACTOR = 3")))


@pytest.mark.parametrize(
    "parts",
    [
        "def half(x):\n    try:\n        return x / 2\n    except ZeroDivisionError as ERROR:\n        return ERROR\n",
        "def half(x):\n    match x:\n        case [ERROR, *REST]:\n            return ERROR / 2, REST\n"
        "        case {1: _, **REST}:\n            return REST\n",
        "def half(x):\n    with x as ERROR:\n        return (lambda y: ERROR / 2)\n",
        "def half(x):\n    if (ERROR := x + 2):\n        return [(REST := ERROR) for _ in ERROR], REST\n",
        "def half(x):\n    ERROR = 0\n    def inner():\n        nonlocal ERROR\n        ERROR += 2\n    return ERROR\n",
        "def half(x):\n    async def ERROR():\n        return 2\n    class REST: part = ERROR\n    return REST\n",
    ],
    ids=range(6),
)
def test_whatever_binds_a_local_variable_may_name_it_otherwise(theirs, parts):
    renamed = parts.replace("ERROR", "e").replace("REST", "r")
    assert theirs(parts=parts) == theirs(parts=renamed)
    assert theirs(parts=parts) != theirs(parts=parts.replace("2", "3").replace("case {1", "case {3"))


@pytest.mark.parametrize(
    "opt",
    [
        [("parts.half(f())", 'getattr(parts, "half")(f())')],
        [("parts.half(f())", "(lambda module: module.half)(parts)(f())")],
        [("from . import parts", "from .parts import *"), ("parts.half(f())", "half(f())")],
    ],
    ids=str,
)
def test_of_a_module_used_as_a_value_everything_counts(theirs, opt):
    text, by_star = swap(OPTIMIZER, *opt), "*" in str(opt)
    assert theirs(opt=text) != theirs(opt=text, parts=swap(PARTS, ("FACTOR = 2", "FACTOR = 3")))
    assert (theirs(opt=text) == theirs(opt=text, parts=swap(PARTS, ("return x\n", "return -x\n")))) == by_star


def test_of_a_module_that_has_not_the_name_everything_counts(theirs):
    parts = "def __getattr__(name):\n    return _half\n\n\ndef _half(x):\n    return x / 2\n"
    assert theirs(parts=parts) != theirs(parts=swap(parts, ("/ 2", "/ 3")))
    text = "def half(x):\n    return globals()['other'](x)\n\n\ndef other(x):\n    return x\n"
    assert theirs(parts=text) != theirs(parts=swap(text, ("return x\n", "return -x\n")))


@pytest.mark.parametrize(
    "before, after",
    [
        ("for _ in range(2):\n    pass\n", "for _ in range(3):\n    pass\n"),
        ("TABLE = {}\nTABLE['a'] = other\n", "TABLE = {}\nTABLE['a'] = half\n"),
        ("print(1)\n", "print(2)\n"),
        (
            "try:\n    import fast\nexcept ImportError:\n    fast = 2\n",
            "try:\n    import fast\nexcept ImportError:\n    fast = 1\n",
        ),
        (
            "def register(f): return f\n\n\n@register\ndef third(x): return 1\n",
            "def register(f): return f\n\n\n@register\ndef third(x): return 2\n",
        ),
    ],
    ids=str,
)
def test_what_a_module_does_when_it_is_imported_counts(theirs, before, after):
    uses_table = PARTS.replace("x / FACTOR", "x / FACTOR, TABLE") if "TABLE" in before else PARTS
    assert theirs(parts=uses_table + before) != theirs(parts=uses_table + after)
    if "TABLE" not in before:
        imported = swap(OPTIMIZER, ("from . import parts", "from . import parts, alone"))
        assert theirs(opt=imported, alone=PARTS + before) != theirs(opt=imported, alone=PARTS + after)
        assert theirs(alone=PARTS + before) == theirs(alone=PARTS + after)
        assert theirs(__init__=PARTS + before) != theirs(__init__=PARTS + after)


def test_names_bound_more_than_once_are_all_that_they_may_be(theirs):
    text = "if True:\n    from theirs.deep import help_out as half\nelse:\n    from theirs.alone import half\n"
    alone = "def half(x):\n    return x / 2\n"
    first = theirs(parts=text, alone=alone)
    assert first != theirs(parts=text, alone=swap(alone, ("2", "3")))
    twice = PARTS + "\n\nhalf = abs\nhalf = (half, 1)\n"
    assert theirs(parts=twice) != theirs(parts=swap(twice, ("abs", "max")))
    wrapped = "from theirs.alone import half\nhalf = (half, 1)\n"
    assert theirs(parts=wrapped, alone=alone) != theirs(parts=wrapped, alone=swap(alone, ("2", "3")))
    unpacked = "a, (half, *b) = abs, (max, min)\n"
    assert theirs(parts=unpacked) != theirs(parts=swap(unpacked, ("min", "sum")))


def test_what_sets_a_variable_of_a_module_counts_with_it(theirs):
    text = "_on = 2\n\n\ndef half(x):\n    return x / _on\n\n\ndef switch():\n    global _on\n    _on = 3\n"
    assert theirs(parts=text) != theirs(parts=swap(text, ("_on = 3", "_on = 4")))
    assert theirs(parts=text) == theirs(parts=swap(text, ("_on", "_off")))


def test_private_names_of_others_count(theirs):
    text = PARTS.replace("x / FACTOR", "x._indices()")
    assert theirs(parts=text) != theirs(parts=text.replace("_indices", "_values"))


def test_what_does_not_parse_is_told_apart_too(theirs):
    assert theirs(parts="def half(") != theirs(parts="def half((")
    assert theirs(opt="class Theirs(") != theirs(opt="class Theirs((")


def test_of_the_rest_of_sobench_the_name_counts_but_not_the_place(theirs):
    with_rule = swap(
        OPTIMIZER,
        ("from . import parts", "from . import parts\nfrom sobench.config.rules import check"),
        ("self.lr = lr", "self.lr = check('lr', lr, None)"),
    )
    by_module = swap(
        with_rule,
        ("from sobench.config.rules import check", "from sobench.config import rules"),
        ("check(", "rules.check("),
    )
    re_export = ("from sobench.config.rules import check", "from sobench.optim.base import check")
    elsewhere = swap(with_rule, re_export)
    other = swap(by_module, ("rules.check(", "rules.optional("))
    assert theirs(opt=with_rule) == theirs(opt=by_module) == theirs(opt=elsewhere) != theirs(opt=other)


def test_parts_of_sobench_count_for_a_plug_in(theirs, monkeypatch, tmp_path):
    text = swap(
        OPTIMIZER,
        ("from . import parts", "from . import parts\nfrom sobench.linalg import cg"),
        ("self.lr = lr", "self.lr = cg"),
    )
    theirs(opt=text)
    find = module_file
    krylov = tmp_path / "krylov.py"
    krylov.write_text(swap(find("sobench.linalg.krylov").read_text(), ("curvature <= 0", "curvature < 0")))
    other = Sources(lambda name: krylov if name == "sobench.linalg.krylov" else find(name))
    entry = registry.entries("optimizers")["theirs"]
    assert other.digest(entry) != Sources().digest(entry) == method_code._code("optimizers", "theirs")


# Our own methods, in a copy of the source

METHODS = {name: entry for name, entry in registry.entries("optimizers").items() if registry.is_ours(entry)}
TORCHS = {"sgd", "adam", "rmsprop", "adagrad", "lbfgs"}
BASED = set(METHODS) - TORCHS - {"sgdw"}
KBFGS = {"kbfgs", "kbfgs_l", "kbfgs20", "kbfgs20_l"}
SMW = {"smw_gn", "smw_ng", "smw_ng_bd"}
ON_MATRICES = {"kfac", "block_fisher", "kernel_sgd", *KBFGS, *SMW}


def copy_into(folder: Path) -> Path:
    """Copy the package into a folder. Returns the copy."""
    ours = Path(sobench.__file__).parent
    return Path(shutil.copytree(ours, folder / "sobench", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to change at will."""
    return copy_into(tmp_path)


@pytest.fixture(scope="module")
def shared_copy(tmp_path_factory):
    """A copy of the package, which each test leaves as it was."""
    return copy_into(tmp_path_factory.mktemp("copy"))


def digests(folder: Path) -> dict[str, str]:
    """Of each of our methods, its source read from a copy of the package."""

    def find(name: str) -> Path | None:
        base = folder.parent.joinpath(*name.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    copied = Sources(find)
    return {name: copied.digest(entry) for name, entry in METHODS.items()}


@cache
def original() -> dict[str, str]:
    return {name: Sources().digest(entry) for name, entry in METHODS.items()}


def changed(folder: Path, file: str, *pairs: tuple[str, str]) -> set[str]:
    """The methods that a change of one file makes stale. The file is left as it was."""
    path = folder / file
    before = path.read_text()
    path.write_text(swap(before, *pairs))
    try:
        after = digests(folder)
    finally:
        path.write_text(before)
    return {name for name in METHODS if original()[name] != after[name]}


def test_a_copy_has_the_digests_of_the_original_and_each_method_its_own(shared_copy):
    found = digests(shared_copy)
    assert found == original()
    assert len(set(found.values())) == len(METHODS) and all(len(one) == 64 for one in found.values())


@pytest.mark.parametrize(
    "file, old, new, stale",
    [
        (
            "objective/layers/matrices.py",
            "alpha * record.samples / locations",
            "2 * alpha * record.samples / locations",
            {"kfac"},
        ),
        (
            "objective/layers/matrices.py",
            "torch.cat([weight, parts",
            "torch.cat([2 * weight, parts",
            ON_MATRICES,
        ),  # LayerMatrices.join
        (
            "objective/layers/matrices.py",
            "return output_grads(record).transpose",
            "return -output_grads(record).transpose",
            {"block_fisher"},
        ),
        (
            "objective/layers/matrices.py",
            "_pull_back(record, u) / len(x)",
            "_pull_back(record, u)",
            KBFGS,
        ),  # input_action
        ("objective/layers/matrices.py", "torch.mm(h.reshape", "torch.mm(-h.reshape", SMW),  # weight_gradient_
        (
            "objective/layers/calls.py",
            "return h.flatten(-2)",
            "return 2 * h.flatten(-2)",
            {"kfac", "block_fisher", *KBFGS, *SMW},
        ),
        ("objective/layers/rows.py", "G.addcmul_(G, A)", "G.mul_(A)", SMW),
        (
            "objective/layers/records.py",
            "call.output_grads = grad.detach()",
            "call.output_grads = 2 * grad",
            ON_MATRICES - {"kernel_sgd"},
        ),
        ("linalg/krylov.py", "if curvature <= 0", "if curvature < 0", {"hf_newton", "hf_gauss_newton"}),  # cg
        ("linalg/krylov.py", "ss.item(), k + 1", "ss.item(), k + 2", {"newton_krylov"}),  # cgls
        (
            "linalg/krylov.py",
            "torch.where(pAp <= 0",
            "torch.where(pAp < 0",
            {"hf_newton", "hf_gauss_newton", "hessian_free"},
        ),
        ("linalg/quasi_newton.py", "def lm_damping(H: Inverse,", "def lm_damping(G: Inverse,", KBFGS),
        (
            "linalg/quasi_newton.py",
            "class Scaled(Compact):\n",
            "class Scaled(Compact):\n    more = 1\n",
            {"robust_lbfgs"},
        ),
        (
            "linalg/quasi_newton.py",
            "class Compact:\n",
            "class Compact:\n    more = 1\n",
            {"robust_lbfgs", "kbfgs_l", "kbfgs20_l"},
        ),
        (
            "linalg/operator.py",
            "class LinearOperator:\n",
            "class LinearOperator:\n    more = 1\n",  # by f.hessian() or f.ggn()
            {
                "newton",
                "damped_newton",
                "hf_newton",
                "hf_gauss_newton",
                "hessian_free",
                "adahessian",
                "esgd",
                "newton_krylov",
            },
        ),
        ("linalg/complex_step.py", "STEP = 1e-12", "STEP = 1e-10", {"newton_krylov"}),
        ("optim/base.py", "alpha=1 - dampening", "alpha=1 + dampening", BASED),
        ("optim/base.py", "value.detach().clone()", "value.detach()", BASED),
        ("optim/subsample.py", "count >= len(f)", "count > len(f)", {"hessian_free", *SMW}),
        ("optim/tensors.py", "decay=1 - 1 / count", "decay=1 / count", {"shampoo", "tnt"}),
        ("optim/sgdw.py", "1 - group", "1 + group", {"sgdw"}),
        ("objective/objective.py", "REVISION = 1", "REVISION = 2", set(METHODS)),
        ("losses.py", "REVISION = 1", "REVISION = 2", set(METHODS)),
        ("objective/objective.py", "0.5 * self.l2", "0.7 * self.l2", set()),  # told by REVISION alone
        ("linalg/operator.py", "class LinearOperator:\n", "class LinearOperator:\n    # more\n", set()),
        ("optim/base.py", "takes one parameter group, got", "takes a single group, not", set()),
        ("optim/base.py", "_restored", "_as_it_was", set()),
        ("optim/base.py", "lr, decay", "lr, shrinking", None),
        ("optim/base.py", "f: Objective", 'f: "Objective"', set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_exactly_the_methods_that_use_it_are_stale(shared_copy, file, old, new, stale):
    pairs = (
        [(old, new)]
        if stale is not None
        else [(old, new), ("if decay", "if shrinking"), ("lr * decay", "lr * shrinking")]
    )
    assert changed(shared_copy, file, *pairs) == (stale or set())


def test_a_renamed_import_or_function_makes_none_stale(copy):
    assert not changed(
        copy,
        "optim/kfac.py",
        ("import grad_factor, input_factor", "import grad_factor as gamma, input_factor"),
        ("] = grad_factor(", "] = gamma("),
    )
    for file in copy.rglob("*.py"):
        text = file.read_text()
        file.write_text(
            text.replace("input_factor", "omega").replace("SecondOrderOptimizer", "Base").replace("CHUNK", "PIECE")
        )
    assert digests(copy) == original()


def test_moved_modules_make_none_stale(copy, monkeypatch):
    (copy / "objective" / "layers").rename(copy / "objective" / "of_layers")
    (copy / "objective" / "of_layers" / "matrices.py").rename(copy / "objective" / "of_layers" / "as_matrices.py")
    (copy / "linalg" / "krylov.py").rename(copy / "linalg" / "conjugate.py")

    def adapted(text: str) -> str:
        text = text.replace("objective.layers", "objective.of_layers").replace(
            "of_layers.matrices", "of_layers.as_matrices"
        )
        return text.replace("linalg.krylov", "linalg.conjugate")

    for file in copy.rglob("*.py"):
        file.write_text(adapted(file.read_text()))
    before = original()
    monkeypatch.setattr(method_code, "LAYERS", ("sobench.objective.of_layers",))
    oracles = {key: [adapted(one) for one in places] for key, places in method_code.ORACLES.items()}
    monkeypatch.setattr(method_code, "ORACLES", oracles)
    assert digests(copy) == before


def test_what_an_objective_answers_with_is_there_and_in_scope():
    for places in method_code.ORACLES.values():
        for place in places:
            module, _, name = place.partition(":")
            target, rest = sources().follow(sources().module(module), [name], "sobench")
            assert isinstance(target, Reference) and not rest
            assert target.definition.module.name.startswith((*method_code.SCOPE, *method_code.LAYERS))
    assert all(sources()._revision(name) >= 1 for name in method_code.REVISED)


def test_a_companion_counts_and_a_stranger_has_no_digest():
    assert method({"optimizer": {"name": "nobody"}}) is None
    beside = {"optimizer": {"name": "sgd"}, "instrument": {"companions": {"one": {"name": "tnt"}}}}
    assert method(beside) != method({"optimizer": {"name": "sgd"}})


def test_torchs_own_are_their_name_and_its_version(monkeypatch):
    digest = lambda name: Sources().digest(METHODS[name])
    now = {name: digest(name) for name in TORCHS}
    assert len(set(now.values())) == len(TORCHS) and "sobench.optim.base" not in Sources()._modules
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    assert all(digest(name) != now[name] for name in TORCHS)


def test_an_entry_point_may_be_imported_where_it_is(theirs):
    first = theirs()
    sources_of = lambda value: Sources().digest(EntryPoint("theirs", value, "sobench.optimizers"))
    assert sources_of("theirs.opt:Theirs") == Sources().digest(registry.entries("optimizers")["theirs"])
    theirs(__init__="from .opt import Theirs as It\n")
    assert sources_of("theirs:It") == sources_of("theirs.opt:Theirs") and sources_of("theirs.none:It") is None
    theirs(__init__="from torch.optim import SGD\n")
    assert sources_of("theirs:SGD") == Sources().digest(METHODS["sgd"])
    assert first


# Schemes


def test_methods_are_compared_within_a_scheme_and_data_always():
    now = {"scheme": 2, "method": "a", "data": "b"}
    assert why(now, now) is None
    assert why(now | {"method": "c"}, now) == "older code of its method"
    assert why({"method": "c", "data": "b"}, now) is None
    assert why({"scheme": 3, "method": "c", "data": "b"}, now) is None
    assert why({"method": "c", "data": "d"}, now) == "other data"
    assert is_earlier({"method": "c", "data": "b"}) and not is_earlier(now)


def test_a_setting_that_was_added_makes_no_result_stale():
    """Each entry leads to the digest of an installed method; one that does not is dead."""
    installed = {method({"optimizer": {"name": name}}) for name in METHODS}
    assert installed >= set(method_code.SAME_RESULTS.values())
    for before, after in method_code.SAME_RESULTS.items():
        now = {"scheme": 2, "method": after, "data": "b"}
        assert why(now | {"method": before}, now) is None
        assert why(now, now | {"method": before}) == "older code of its method"
        assert why({"scheme": 1, "method": before, "data": "c"}, now) == "other data"


# Data and runs


def test_data_is_declared_checksums_or_those_of_the_contents(tmp_path, monkeypatch):
    sources = {
        "one": Source(
            "one", "about", folder="one", stand_in="one.npz", files={"a": File("a", "md5:1", 3), "b": File("b")}
        )
    }
    store = Store(None, tmp_path, sources)
    assert store.checksums("one") is None
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "one.npz").write_text("stand-in")
    (stand_in,) = store.checksums("one")
    (tmp_path / "one" / "a").write_text("abc")
    assert store.checksums("one") is None
    (tmp_path / "one" / "b").write_text("xyz")
    declared, computed = store.checksums("one")
    assert declared == "md5:1" and computed.startswith("sha256:") and computed != stand_in
    monkeypatch.setattr("sobench.data.checksums.digest", lambda *_: pytest.fail("it is known"))
    from sobench.data.checksums import _checksum

    _checksum.cache_clear()  # another process
    assert store.checksums("one") == [declared, computed]
    monkeypatch.undo()
    (tmp_path / "one" / "b").write_text("other")
    assert store.checksums("one")[1] != computed
    (tmp_path / "checksums.json").write_text("[")
    _checksum.cache_clear()
    assert store.checksums("one")[1].startswith("sha256:")


def test_word_vectors_of_ones_own_count(tmp_path, monkeypatch):
    monkeypatch.setenv("SOBENCH_CACHE", str(tmp_path / "cache"))
    settings = {"dataset": {"name": "noise", "vectors": str(tmp_path / "words.txt")}}
    assert data(settings) is None
    (tmp_path / "words.txt").write_text("a 1")
    first = data(settings)
    (tmp_path / "words.txt").write_text("a 22")
    assert None not in (first, data(settings)) and data(settings) != first
    assert data(settings | {"data": {"mirror": "/nowhere", "cache": None}}) is None


def test_a_run_that_goes_on_keeps_what_it_was_begun_with(tmp_path):
    settings = {"optimizer": {"name": "sgd"}, "dataset": {"name": "digits"}}
    assert recorded(tmp_path) is None
    assert fingerprint(settings) == {"scheme": 2, "method": method(settings), "data": data(settings)}
    assert fingerprint(settings, before=tmp_path) == {"scheme": 2, "method": None, "data": None}  # unknown
    (tmp_path / "environment.json").write_text(json.dumps({"fingerprint": {"method": "older", "data": None}}))
    assert fingerprint(settings, before=tmp_path) == {"method": "older", "data": None}
    for text in ("", "[]", '{"fingerprint": 3}'):
        (tmp_path / "environment.json").write_text(text)
        assert recorded(tmp_path) is None
