"""Digest of a method's code. A result is stale if its digest differs from that of the installed code. No torch.

The source is read as syntax trees; nothing is imported. The digest covers *definitions*: functions, classes and
constants at the top of a module. It starts at the object of the entry point and follows each name that stands for a
definition in scope, once.

In scope      the method's own package, sobench.optim, sobench.linalg and the layer mathematics (SCOPE, LAYERS); also
the
              definitions behind the attributes of an objective, such as `f.matrices` (ORACLES).
Out of scope  the rest of sobench, whose objects count by name. The objective and the losses have a REVISION, raised by
hand and
              digested for every method: a digest of their source would flag all results at every refactoring.
Libraries     objects count by their qualified name. torch's own optimizers also count torch's version.

The digest ignores what changes no result:
    comments, layout, docstrings, imports, annotations, TYPE_CHECKING blocks, the arguments of exceptions;
    names and places of definitions: a reference is the number of its definition, in the order of first visit;
    names of local variables, which are numbered in each definition, and of attributes with one leading underscore,
    which are numbered over the digest if the code that is read assigns or defines them.
Names of parameters, public attributes and keywords are interface, and count.

In case of doubt the digest includes:
    all definitions of a module that is used as a value, or that lacks a requested name (`__getattr__`, a star import);
    statements of a module that define nothing (a loop, a call that registers), and definitions with a decorator that is
    not a library's, for every method that reaches the module or a module that imports it; the functions that set a
    variable of a module by `global`, with that variable; the bytes of a file that does not parse.

The digest does not see code that is found at run time by a string alone, a private method that overrides a library's
and is renamed, and the effect of a ClassVar annotation in a dataclass.

The module reads from top to bottom: the digest of a run (`method`), the modules and their definitions, `Sources` (which
finds what a name stands for), `Link` (one digest over many definitions), `Writer` (one definition as tokens), syntax
trees.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeGuard

from sobench.config import groups, registry
from sobench.config.by_path import FILE, PathEntry, Stamp
from sobench.config.modules import module_file
from sobench.config.registry import Entry

SCHEME = 2
"""To be raised if the digest of unchanged code changes. Digests of different schemes are not compared."""

SAME_RESULTS = {
    "cbd9eb57974a3774336cf50e517df8db4a6b8bc635bf4f70a6c178c6fe4f75ff": (  # newton_krylov: before early_termination
        "9489426f8eff4357bbd4ac1d9076edf192763629ea2470895665314d00097c7c"
    ),
    "7197e14776a2e79518a6e6d7c2b0e194aa6ec6369496aeb9842db6cdb2cd07b2": (  # newton_krylov: updates in place
        "9489426f8eff4357bbd4ac1d9076edf192763629ea2470895665314d00097c7c"
    ),
    "256d7ff83c91990bad63a4a9c499a79a5081013bde2159cbc742c6b21ba803fa": (  # hessian_free: no vector for each q(x)
        "5d1e1b15c6ea53e2cce56cf13eebef16f41c8cdf39e9aeb59d57eaee5b86e47a"
    ),
    "274a69f435c0fa15dfcc0b012e2c47192d4800809244f4731faa67324afd6e8a": (  # kfac: before sharing
        "e41d1ff7d2c2f58616dd0714869cbf419266e62ff66b57c443bd7a1aad67e22d"
    ),
    "0abc651c1e77af38e1314b254dce47ede950e938f8914a7f3ec33c752aec4f9c": (  # kbfgs: before sharing
        "8e3a4caacb131be1dbe33ec57f4d489f0849750dae7a408b999450c9e2afd193"
    ),
    "e8e5d3cd275b2e1809e2a416f9173f89f38a0c156eb0dd1ab332ca43256289f7": (  # kbfgs_l: before sharing
        "2a988a6684419b2f7a4daaf18d4eb2144f6fbef6832ac83a901f8c049a4dae8f"
    ),
    "f8befcf7e33d65932c1157ea4657f09419a22032cc66bdf87785793393ab2440": (  # kbfgs20: before sharing
        "100d0f28e8d252186a850d901177ed83f5ab49be80fd681af90bcaec3964cc21"
    ),
    "6c2596203eeb237d2ba5b0e5dd8a3025953e8916546519df88101d6c1f653e3c": (  # kbfgs20_l: before sharing
        "cb9cda1c434e12e52fa14af9285b377da98cb9fb16307add62682f31e0409298"
    ),
}
"""Digest of a run's method before a change that leaves its results the same to the bit -> after it.

Such a change is a new setting, with the former behaviour as its default, or the same arithmetic in other storage. An
entry is removed when the code changes again in another way: results of both digests are then stale."""

LAYERS = ("sobench.objective.layers",)
"""The layer mathematics: module prefixes."""

SCOPE = ("sobench.optim", "sobench.linalg")
"""The modules in scope for every method, besides LAYERS and its own package: module prefixes."""

REVISED = ("sobench.objective.objective", "sobench.losses")
"""Modules whose REVISION is in every digest."""

_MATRICES = ("sobench.objective.layers.matrices:LayerMatrices",)
_RECORD = (
    "sobench.objective.layers.records:LayerRecord",
    "sobench.objective.layers.records:recording",
    "sobench.objective.layers.records:with_parameters",
)
_OPERATOR = ("sobench.linalg.operator:LinearOperator",)

ORACLES = {
    "matrices": _MATRICES,
    "record": _RECORD,
    "recorded": _RECORD,
    "propagate": _MATRICES,  # the parameters that no layer owns
    "accumulate": (*_MATRICES, "sobench.objective.layers.matrices:weight_gradient_"),
    "hessian": _OPERATOR,
    "ggn": _OPERATOR,
    "curvature": ("sobench.linalg.complex_step:shifted", "sobench.linalg.complex_step:STEP"),
}
"""Attribute of an objective -> the definitions in scope behind it. Attributes of `self` and `cls` are not meant."""

LIBRARIES = ("torch",)
"""Packages whose own optimizers are entry points."""


def method(settings: Mapping[str, Any]) -> str | None:
    """The digest of a run's optimizers, those of its groups and companions included; None if one is unknown."""
    companions = (settings.get("instrument") or {}).get("companions") or {}
    names = [*groups.optimizers(settings["optimizer"]), *sorted(one["name"] for one in companions.values())]
    digests = []
    for name in names:
        of_optimizer = _code("optimizers", name)
        if of_optimizer is None:
            return None
        digests.append(of_optimizer)
    return digest(digests)


def parts(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The digests of the code of a run's parts besides its optimizer, as far as they are plug-ins, by key."""
    names = {key: settings.get(key) for key in ("dataset", "model", "loss", "schedule", "instrument")}
    chosen = {key: name["name"] if isinstance(name, Mapping) else name for key, name in names.items()}
    metrics = [_code("metrics", name) for name in settings.get("metrics", ())]
    known = [code for code in metrics if code is not None]
    of_metrics = {"metrics": digest(known) if len(known) == len(metrics) else None} if metrics else {}
    return of_metrics | {
        key: _code(registry.KINDS[key], name) for key, name in chosen.items() if name and registry.is_plugin(key, name)
    }


def _code(kind: str, name: str) -> str | None:
    """The digest of the code behind a name or a path; None if it is not installed."""
    entry = registry.find(kind, name)
    if isinstance(entry, PathEntry) and entry.file:
        return _code_of_file(entry, entry.file, entry.stamp)
    return _code_of_package(kind, name)


@cache
def _code_of_file(entry: PathEntry, file: Path, stamp: Stamp) -> str | None:
    """The digest of an object in a file, which is read again when it has changed. file: its absolute path."""
    return Sources(entry.find).digest(entry)


@cache
def _code_of_package(kind: str, name: str) -> str | None:
    entry = registry.find(kind, name)
    return sources().digest(entry) if entry else None


@cache
def sources() -> Sources:
    """The installed sources, each file read once in a process."""
    return Sources()


def forget() -> None:
    """Clear the caches: every file is read again."""
    sources.cache_clear()
    _code_of_file.cache_clear()
    _code_of_package.cache_clear()


def digest(words: Iterable[str]) -> str:
    """The SHA-256 of the words, each ended by a zero byte."""
    return hashlib.sha256("".join(f"{word}\0" for word in words).encode()).hexdigest()


# The possible meanings of a name


@dataclass(frozen=True)
class Imported:
    """The target of an import: a name in a module, or the module itself."""

    module: str
    name: str | None = None


@dataclass(frozen=True)
class Library:
    """An object outside sobench and the method's package, by its qualified name."""

    name: str


@dataclass(frozen=True)
class Reference:
    """A definition, and the number of the name that is meant, of those that it binds."""

    definition: Definition
    index: int


@dataclass(frozen=True)
class Private:
    """An attribute with one leading underscore. made: it is assigned or defined here, and not only read."""

    name: str
    made: bool


class Definition:
    """The top-level statements of a module that bind the same names: one `def`, `class` or assignment as a rule."""

    def __init__(self, module: Module, names: Sequence[str] = ()):
        self.module, self.names = module, list(names)
        self.statements: list[ast.stmt] = []
        self.tokens: list[Token] | None = None


class Module:
    """A source file: its definitions, by each name that they bind, and its imports.

    loose: the statements that define nothing, and the names that they bind. registered: the definitions with a
    decorator that is not a library's. setters: {variable: the definitions that declare it `global`}. reads: the modules
    that it imports, at any depth.
    """

    def __init__(self, name: str, file: Path):
        self.name, self.top, self.is_package = name, name.partition(".")[0], file.name == "__init__.py"
        self.package = name if self.is_package else name.rpartition(".")[0]
        self.definitions: dict[str, Definition] = {}
        self.loose = Definition(self)
        self.registered: list[str] = []
        self.setters: dict[str, list[str]] = {}
        source = file.read_bytes()
        try:
            body = _parsed(source)
        except (SyntaxError, ValueError):
            body = []
            self.loose.tokens = [hashlib.sha256(source).hexdigest()]
        self._has_globals = b"global" in source
        bound = Bound(self.package, body)
        self.imports, self.stars, self.reads = bound.imports, bound.stars, set(_reads(body, self.package))
        for statement in _effective(body):
            self._define(statement)
        self._complete(bound.typing)

    @property
    def has_loose(self) -> bool:
        return bool(self.loose.statements or self.loose.tokens or self.registered)

    def _define(self, statement: ast.stmt) -> None:
        names = _defines(statement, self.package)
        changed = _changes(statement)
        if not names and not (changed and changed <= set(self.definitions)):
            self.loose.statements.append(statement)
            return
        first, *others = dict.fromkeys(
            self.definitions.get(name) or Definition(self) for name in [*names, *sorted(changed)]
        )
        for other in others:
            first.statements += other.statements
            names += other.names
        first.statements = sorted([*first.statements, statement], key=lambda one: one.lineno)
        first.names = list(dict.fromkeys([*first.names, *names]))
        self.definitions |= dict.fromkeys(first.names, first)
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            self._note(statement)

    def _note(self, statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if any(self._is_ours(decorator) for decorator in statement.decorator_list):
            self.registered.append(statement.name)
        for node in ast.walk(statement) if self._has_globals else ():
            if isinstance(node, ast.Global):
                for name in node.names:
                    self.setters.setdefault(name, []).append(statement.name)

    def _is_ours(self, decorator: ast.expr) -> bool:
        """Whether a decorator is one of this module, its package or sobench, and not a library's."""
        root = _root(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if root is None:
            return False
        targets = self.imports.get(root, ())
        return root in self.definitions or any(_top(target.module) in (self.top, "sobench") for target in targets)

    def _complete(self, typing: dict[str, list[Imported]]) -> None:
        """Add the names that are bound by loose statements, by several imports, or by `global` alone."""
        for name in Bound(self.package, self.loose.statements).names:
            if name not in self.definitions:
                self.loose.names.append(name)
                self.definitions[name] = self.loose
        several = [name for name, targets in self.imports.items() if len(targets) > 1]
        for name in [*several, *self.setters]:
            self.definitions.setdefault(name, Definition(self, [name]))
        self.imports = {name: typing[name] for name in typing if name not in self.definitions} | self.imports


Token = str | Private | Library | Reference | Module
"""A part of a written definition, before its references are numbered."""

Found = tuple[Library | Reference | Module, tuple[str, ...]]
"""The meaning of a dotted name, and the attributes after it."""


class Sources:
    """All modules that methods are made of, read at their first use. find: module name -> its file, or None."""

    def __init__(self, find: Callable[[str], Path | None] = module_file):
        self._find = find
        self._modules: dict[str, Module | None] = {}

    def digest(self, entry: Entry) -> str | None:
        """The digest of the object that an entry names; None if its source is not installed."""
        top = _top(entry.module)
        if top not in LIBRARIES and self.module(entry.module) is None:
            return None
        target, rest = self.follow(self._named(entry.module, top), entry.attr.split(".") if entry.attr else (), top)
        start: list[Token] = [f"revision {self._revision(name)}" for name in REVISED]
        if isinstance(target, Library):
            try:
                start.append(metadata.version(_top(target.name)))
            except metadata.PackageNotFoundError:
                return None
        own = entry.module if top == "sobench" else top
        return digest(Link(self, (own, *SCOPE, *LAYERS)).words([*start, target, *rest]))

    def module(self, name: str) -> Module | None:
        if name not in self._modules:
            file = self._find(name)
            self._modules[name] = Module(name, file) if file else None
        return self._modules[name]

    def lookup(self, module: Module, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Found | None:
        """The meaning of a name at the top of a module, re-exports followed; None if it is unknown."""
        if definition := module.definitions.get(name):
            return Reference(definition, definition.names.index(name)), ()
        again = (module.name, name) in seen
        seen |= {(module.name, name)}
        if name in module.imports and not again:
            return self.imported(module.imports[name][0], module.top, seen)
        if module.is_package and (inner := self.module(f"{module.name}.{name}")):
            return inner, ()
        for star in () if again else module.stars:
            source = self._named(star, module.top)
            if isinstance(source, Module) and (found := self.lookup(source, name, seen)):
                return found
        return None

    def imported(self, target: Imported, top: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Found:
        """The meaning of an imported name. top: the package of the importing module."""
        found = self._named(target.module, top)
        return self.follow(found, [target.name] if target.name else [], top, seen)

    def follow(
        self,
        target: Library | Reference | Module,
        names: Sequence[str],
        top: str,
        seen: frozenset[tuple[str, str]] = frozenset(),
    ) -> Found:
        """Resolve attributes one by one, as long as they lead from module to module, or within a library."""
        rest = tuple(names)
        while rest and not isinstance(target, Reference):
            if isinstance(target, Library):
                target, more = self._named(f"{target.name}.{rest[0]}", top), ()
            elif found := self.lookup(target, rest[0], seen):
                target, more = found
            else:
                break
            rest = (*more, *rest[1:])
            if more:
                break
        return target, rest

    def oracle(self, attribute: str) -> list[Token]:
        """The definitions behind an attribute of an objective."""
        found: list[Token] = []
        for module, _, name in (place.partition(":") for place in ORACLES.get(attribute, ())):
            target, rest = self.imported(Imported(module, name), "sobench")
            found += [target, *rest]
        return found

    def tokens(self, what: Definition | Module) -> list[Token]:
        """The tokens of a definition; of a module, those of all its names."""
        if isinstance(what, Module):
            return self._contents(what)
        if what.tokens is None:
            what.tokens = Writer(self, what.module).definition(what)
        return what.tokens

    def entered(self, module: Module) -> list[Module]:
        """The modules that run when a module is imported: its packages and its imports."""
        parts = module.name.split(".")
        names = {".".join(parts[:i]) for i in range(1, len(parts))} | module.reads
        return [found for name in sorted(names) if isinstance(found := self._named(name, module.top), Module)]

    def _named(self, name: str, top: str) -> Module | Library:
        known = _top(name) in (top, "sobench") and _top(name) not in LIBRARIES
        found = self.module(name) if known else None
        if top == FILE and not known:
            found = self.module(f"{FILE}.{name}")  # beside the file
        return found or Library(name)

    def _contents(self, module: Module) -> list[Token]:
        found: list[Token] = []
        for name in sorted({*module.definitions, *module.imports} - {"__all__"}):
            target, rest = self.lookup(module, name) or (module, (name,))
            if not isinstance(target, Library) and target is not module:
                found += [f"named {name}", target, *rest]
        return found + [self._named(star, module.top) for star in sorted(module.stars)]

    def _revision(self, name: str) -> object:
        module = self.module(name)
        found = self.lookup(module, "REVISION") if module else None
        if not found or not isinstance(found[0], Reference) or not found[0].definition.statements:
            return None
        statement = found[0].definition.statements[-1]
        return ast.literal_eval(statement.value) if isinstance(statement, ast.Assign) else None


class Link:
    """One digest: the definitions in the order of first visit, with references as the numbers of definitions."""

    def __init__(self, sources: Sources, scope: Sequence[str]):
        self._sources, self._scope = sources, scope
        self._numbers: dict[Definition | Module, int] = {}
        self._waiting: list[Definition | Module] = []
        self._words: list[str | Private] = []

    def words(self, start: Iterable[Token]) -> list[str]:
        self._write(start)
        while self._waiting or self._add_loose():
            what = self._waiting.pop(0)
            self._words.append(f"begins {self._numbers[what]}")
            self._write(self._sources.tokens(what))
        return self._with_private_numbers()

    def _with_private_numbers(self) -> list[str]:
        """The words; private attributes that the code makes are numbered in the order of their first appearance."""
        made = {word.name for word in self._words if isinstance(word, Private) and word.made}
        numbers: dict[str, int] = {}
        words = []
        for word in self._words:
            if isinstance(word, str):
                words.append(word)
            elif word.name in made:
                words.append(f"private {numbers.setdefault(word.name, len(numbers))}")
            else:
                words.append(f"attribute {word.name}")
        return words

    def _write(self, tokens: Iterable[Token]) -> None:
        self._words += [token if isinstance(token, (str, Private)) else self._word(token) for token in tokens]

    def _word(self, target: Library | Reference | Module) -> str:
        if isinstance(target, Library):
            return f"library {target.name}"
        if isinstance(target, Module):
            in_scope = self._within(target)
            return f"module {self._number(target)}" if in_scope else f"name {target.name.rpartition('.')[2]}"
        if self._within(target.definition.module):
            return f"definition {self._number(target.definition)} {target.index}"
        return f"name {target.definition.names[target.index]}"

    def _number(self, what: Definition | Module) -> int:
        if what not in self._numbers:
            self._numbers[what] = len(self._numbers)
            self._waiting.append(what)
        return self._numbers[what]

    def _within(self, module: Module) -> bool:
        return any(f"{module.name}.".startswith(f"{one}.") for one in self._scope)

    def _add_loose(self) -> bool:
        """Queue the loose statements of all modules that were reached or are imported by one; whether there are any."""
        modules = {what if isinstance(what, Module) else what.module for what in self._numbers}
        waiting = list(modules)
        while waiting:
            new = {module for module in self._sources.entered(waiting.pop()) if self._within(module)} - modules
            modules |= new
            waiting += new
        loose = [module.loose for module in modules if module.has_loose and module.loose not in self._numbers]
        for one in sorted(loose, key=lambda one: (digest(map(_literal, self._sources.tokens(one))), one.module.name)):
            self._number(one)
        return bool(loose)


def _literal(token: Token) -> str:
    return token if isinstance(token, str) else type(token).__name__


# One definition


class Scope:
    """The names of a function, a class or a comprehension."""

    def __init__(self, parent: Scope | None, bound: Bound, parameters: Iterable[str] = (), is_class: bool = False):
        self.parent, self.parameters, self.is_class = parent, set(parameters), is_class
        self.imports, self.globals = bound.imports, bound.globals
        self.names = {*bound.names, *bound.imports, *self.parameters}

    def owner(self, name: str) -> Scope | None:
        """The scope that binds a name; None if that is the module."""
        scope: Scope | None = self
        while scope is not None and name not in scope.globals:
            if name in scope.names and (scope is self or not scope.is_class):
                return scope
            scope = scope.parent
        return None


class Writer:
    """Writes a definition as tokens: its syntax tree, like ast.dump but the same in every version of Python, with its
    names resolved.

    A method `_<node>` writes the nodes of that class; `_plain` writes all others.
    """

    def __init__(self, sources: Sources, module: Module):
        self._sources, self._module = sources, module
        self._tokens: list[Token] = []
        self._locals: dict[tuple[Scope, str], int] = {}

    def definition(self, definition: Definition) -> list[Token]:
        module = self._module
        for name in definition.names:  # the other bindings of a name
            for target in module.imports.get(name, ()):
                self._found(self._sources.imported(target, module.top))
            for setter in module.setters.get(name, ()):
                self._global(setter)
        self._body(definition.statements, None)
        if definition is module.loose:
            for name in module.registered:
                self._global(name)
        return self._tokens

    def _write(self, value: Any, scope: Scope | None) -> None:
        if isinstance(value, ast.AST):
            special = getattr(self, f"_{type(value).__name__}", self._plain)
            special(value, scope)
        elif isinstance(value, list):
            self._list(value, scope)
        else:
            self._tokens.append(f"{type(value).__name__} {value!a}")

    def _plain(self, node: ast.AST, scope: Scope | None, without: Sequence[str] = ()) -> None:
        self._tokens.append(type(node).__name__)
        for key, value in ast.iter_fields(node):
            if key in _IGNORED or key in without:
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                value = list(_effective(value, scope is not None and scope.is_class))
            if value is not None and value != []:
                self._tokens.append(key)
                self._write(value, scope)
        self._tokens.append(")")

    def _list(self, values: Iterable[Any], scope: Scope | None) -> None:
        for value in values:
            self._write(value, scope)
        self._tokens.append("]")

    def _body(self, statements: Iterable[ast.stmt], scope: Scope | None) -> None:
        self._list(_effective(statements, scope is not None and scope.is_class), scope)

    # Scopes

    def _FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope | None) -> None:
        self._tokens.append(type(node).__name__)
        self._name(node.name, scope, made=True)
        self._list(node.decorator_list, scope)
        self._write(node.args, scope)  # defaults are evaluated outside
        self._body(node.body, self._function(node.args, node.body, scope, getattr(node, "type_params", ())))

    _AsyncFunctionDef = _FunctionDef

    def _Lambda(self, node: ast.Lambda, scope: Scope | None) -> None:
        self._tokens.append("Lambda")
        self._write(node.args, scope)
        self._write(node.body, self._function(node.args, [node.body], scope))

    def _function(
        self, args: ast.arguments, body: Sequence[ast.AST], scope: Scope | None, types: Iterable[Any] = ()
    ) -> Scope:
        parameters = [node.arg for node in ast.iter_child_nodes(args) if isinstance(node, ast.arg)]
        return Scope(scope, Bound(self._module.package, body), [*parameters, *(one.name for one in types)])

    def _ClassDef(self, node: ast.ClassDef, scope: Scope | None) -> None:
        self._tokens.append("ClassDef")
        self._name(node.name, scope, made=True)
        for outside in (node.decorator_list, node.bases, node.keywords):
            self._list(outside, scope)
        self._body(node.body, Scope(scope, Bound(self._module.package, node.body), is_class=True))

    def _comprehension(self, node: Any, scope: Scope | None) -> None:
        self._tokens.append(type(node).__name__)
        inner, outer = Scope(scope, Bound(self._module.package, [one.target for one in node.generators])), scope
        for one in node.generators:
            self._write(one.target, inner)
            self._write(one.iter, outer)  # the first is evaluated outside
            self._list(one.ifs, inner)
            self._tokens.append(f"async {one.is_async}")
            outer = inner
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self._write(getattr(node, part), inner)
        self._tokens.append(")")

    _ListComp = _SetComp = _DictComp = _GeneratorExp = _comprehension

    # Names

    def _arg(self, node: ast.arg, scope: Scope | None) -> None:
        self._tokens.append(f"parameter {node.arg}")

    def _Name(self, node: ast.Name, scope: Scope | None) -> None:
        self._name(node.id, scope, made=not isinstance(node.ctx, ast.Load))

    def _name(self, name: str, scope: Scope | None, made: bool = False) -> None:
        owner = scope.owner(name) if scope else None
        if owner is None:
            self._global(name)
        elif name in owner.imports:
            for target in owner.imports[name]:
                self._found(self._sources.imported(target, self._module.top))
        elif name in owner.parameters:
            self._tokens.append(f"parameter {name}")
        elif owner.is_class:
            self._tokens.append("member")
            self._attribute(name, made=True)
            if not made and self._sources.lookup(self._module, name):  # in a class, `x = x` reads the module's
                self._global(name)
        else:
            self._tokens.append(f"local {self._locals.setdefault((owner, name), len(self._locals))}")

    def _global(self, name: str) -> None:
        found = self._sources.lookup(self._module, name)
        if found:
            self._found(found)
        else:
            self._tokens.append(f"builtin {name}")
        if name == "globals":
            self._tokens.append(self._module)

    def _found(self, found: Found) -> None:
        target, rest = found
        self._tokens.append(target)
        for name in rest:
            self._attribute(name)

    def _Attribute(self, node: ast.Attribute, scope: Scope | None) -> None:
        names, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            names.insert(0, value.attr)
            value = value.value
        rest = tuple(names)
        if isinstance(value, ast.Name) and (found := self._import(value.id, scope)):
            target, more = found
            target, rest = (target, (*more, *names)) if more else self._sources.follow(target, names, self._module.top)
            self._tokens.append(target)
        else:
            self._write(value, scope)
        for place, name in enumerate(rest):
            self._attribute(name, made=place == len(rest) - 1 and not isinstance(node.ctx, ast.Load))
            if place or not (isinstance(value, ast.Name) and value.id in ("self", "cls")):
                self._tokens += self._sources.oracle(name)

    def _import(self, name: str, scope: Scope | None) -> Found | None:
        """The meaning of a name that a scope imports, once; of one that no scope binds, its meaning in the module."""
        owner = scope.owner(name) if scope else None
        if owner is None:
            return self._sources.lookup(self._module, name)
        targets = owner.imports.get(name, ())
        return self._sources.imported(targets[0], self._module.top) if len(targets) == 1 else None

    def _attribute(self, name: str, made: bool = False) -> None:
        private = name.startswith("_") and not name.startswith("__")
        self._tokens.append(Private(name, made) if private else f"attribute {name}")

    # Statements and patterns that bind a name; raise

    def _ExceptHandler(self, node: Any, scope: Scope | None) -> None:
        self._binds(node, node.name, "name", scope)

    _MatchAs = _MatchStar = _ExceptHandler

    def _MatchMapping(self, node: ast.MatchMapping, scope: Scope | None) -> None:
        self._binds(node, node.rest, "rest", scope)

    def _binds(self, node: ast.AST, name: str | None, field: str, scope: Scope | None) -> None:
        if name:
            self._name(name, scope, made=True)
        self._plain(node, scope, without=(field,))

    def _Raise(self, node: ast.Raise, scope: Scope | None) -> None:
        self._tokens.append("Raise")
        self._write(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, scope)
        self._write(node.cause, scope)


# Syntax

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IGNORED = {"ctx", "kind", "annotation", "returns", "simple", "type_comment", "type_params", "msg"}
"""Fields of nodes: types, the message of `assert`, and what other fields repeat."""


@lru_cache(1000)
def _parsed(source: bytes) -> list[ast.stmt]:
    """The statements of a file, which are only read: `Sources` of several methods share the trees of equal files.

    Raises SyntaxError or ValueError for what is no Python.
    """
    return ast.parse(source).body


class Bound(ast.NodeVisitor):
    """The names that statements bind in their own scope, in order; the imports; and the names declared `global`.

    typing: imports in TYPE_CHECKING blocks.
    """

    def __init__(self, package: str, nodes: Iterable[ast.AST]):
        self._package = package
        self.names: dict[str, None] = {}
        self.globals: set[str] = set()
        self.imports: dict[str, list[Imported]] = {}
        self.typing: dict[str, list[Imported]] = {}
        self.stars: list[str] = []
        self._outer: set[str] = set()
        for node in nodes:
            self.visit(node)
        for name in self.globals | self._outer:
            self.names.pop(name, None)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.names[node.id] = None

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.names[node.name] = None
        self._all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names[node.name] = None
        self._all([*node.decorator_list, *node.bases, *node.keywords])

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all([*node.args.defaults, *node.args.kw_defaults])

    def visit_ListComp(self, node: ast.AST) -> None:
        """The variables of a comprehension are not of this scope; those of := in it are."""
        self.names |= {one.target.id: None for one in ast.walk(node) if isinstance(one, ast.NamedExpr)}

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    def visit_ExceptHandler(self, node: Any) -> None:
        if node.name:
            self.names[node.name] = None
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_ExceptHandler

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.names[node.rest] = None
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._all([node.target, node.value])

    def visit_Global(self, node: ast.Global) -> None:
        self.globals |= set(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._outer |= set(node.names)

    def visit_If(self, node: ast.If) -> None:
        if not _is_type_checking(node):
            self.generic_visit(node)
            return
        self.typing |= Bound(self._package, node.body).imports
        self._all(node.orelse)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.asname or _top(alias.name), Imported(alias.name if alias.asname else _top(alias.name)))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = _origin(node, self._package)
        for alias in node.names if module != "__future__" else ():
            if alias.name == "*":
                self.stars.append(module)
            else:
                self._import(alias.asname or alias.name, Imported(module, alias.name))

    def _import(self, name: str, target: Imported) -> None:
        targets = self.imports.setdefault(name, [])
        if target not in targets:
            targets.append(target)

    def _all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)


def _effective(statements: Iterable[ast.stmt], in_class: bool = False) -> Iterator[ast.stmt]:
    """The statements that count. Annotated assignments outside of classes become plain ones."""
    for one in statements:
        if isinstance(one, (ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal)):
            continue
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):  # a docstring, or ...
            continue
        if isinstance(one, ast.AnnAssign) and not in_class:
            if one.value is not None:
                yield ast.copy_location(ast.Assign(targets=[one.target], value=one.value), one)
        elif _is_type_checking(one):
            yield from _effective(one.orelse, in_class)
        else:
            yield one


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    )


def _defines(statement: ast.stmt, package: str) -> list[str]:
    """The names that a definition or assignment binds; none for other statements: a loop, a branch, an expression."""
    plain = (*_FUNCTIONS, ast.ClassDef, ast.Assign, ast.AugAssign)
    is_alias = type(statement).__name__ == "TypeAlias"  # of Python 3.12
    return list(Bound(package, [statement]).names) if is_alias or isinstance(statement, plain) else []


def _changes(statement: ast.stmt) -> set[str]:
    """The variables of whose parts a statement assigns one: x of `x[0] = y` and `x.part = y`."""
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    parts = targets if isinstance(statement, (ast.Assign, ast.AugAssign)) else []
    return {_root(part) or "" for part in parts if isinstance(part, (ast.Attribute, ast.Subscript))}


def _root(node: ast.AST) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _reads(statements: Iterable[ast.AST], package: str) -> Iterator[str]:
    """The modules that statements import, at any depth. A name imported from a package may be a module too."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            yield from (origin, *(f"{origin}.{alias.name}" for alias in node.names))
        elif not isinstance(node, ast.expr):
            yield from _reads(node.orelse if _is_type_checking(node) else ast.iter_child_nodes(node), package)


def _origin(node: ast.ImportFrom, package: str) -> str:
    """The module that names are imported from."""
    parents = package.split(".")
    base = parents[: len(parents) + 1 - node.level] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def _top(name: str) -> str:
    return name.partition(".")[0]
