"""Which source files a module depends on, and one hash over them.

Caches that look only at a notebook's cells, or only at one function, are blind to a change in an imported
module. Both caches here (:mod:`thesislib.memo` and the book's own) use the closure computed below.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import io
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SCAFFOLD = ("memo.py", "sources.py", "datasets/catalogue.py", "datasets/download.py", "datasets/places.py")
"""Files of the package that decide when something is computed and which data are read, never what comes of it."""
# Modules not called like their distribution; others are found too, but to read all installed records is slow.
RENAMED = {
    "PIL": "pillow",
    "cv2": "opencv-contrib-python-headless",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def closure(start: Path) -> tuple[list[Path], list[str]]:
    """Everything `start` imports, directly or through modules of this package.

    Imports are read from the source text, so nothing is executed, and imports inside functions count. What a
    package's ``__init__`` imports under ``if TYPE_CHECKING:``, it exports lazily: such a name brings its own
    module along where it is imported by name, all of them where the package is imported as a whole.

    Parameters
    ----------
    start : Path
        A Python file, inside the package or not (a notebook's percent script).

    Returns
    -------
    files : list of Path
        The package's own files, `start` among them, sorted.
    distributions : list of str
        Installed third-party packages as ``name==version``, sorted.
    """
    start = Path(start).resolve()
    files, names = {start}, set()
    queue = [*_imported(start), *_exported(start, "*")]
    while queue:
        name = queue.pop()
        if name in names:
            continue
        names.add(name)
        for file in _own(name):
            if file not in files:
                files.add(file)
                queue += _imported(file)
        queue += _lazy(name)
    return sorted(files), _distributions({name.partition(".")[0] for name in names})


def fingerprint(paths: Iterable[Path], *extra: str) -> str:
    """SHA-256 over the contents of files (and their place below this package's parent) and some strings.

    Parameters
    ----------
    paths : iterable of Path
    *extra : str
    """
    return _digest(paths, Path.read_bytes, extra)


def code_fingerprint(paths: Iterable[Path], *extra: str) -> str:
    """The same over Python files' code only: comments, docstrings and blank lines decide no result."""
    return _digest(paths, lambda path: code(path.read_text(encoding="utf-8")).encode(), extra)


def code(text: str) -> str:
    """Python source without comments, blank lines and strings that are statements, docstrings above all.

    Made of the source's own lines, not of its syntax tree: the same text under every version of Python.

    >>> code('def f():  # why\\n    "What."\\n\\n    return "#1"')
    'def f():\\n    return "#1"'
    """
    lines = text.split("\n")
    dropped = {row for node in ast.walk(ast.parse(text)) for row in _prose(node, lines)}
    kept = set()  # lines within a string, blank or not
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (row, column), (last, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif last > row:
            kept.update(range(row, last + 1))
    numbered = ((row, line) for row, line in enumerate(lines, 1) if row not in dropped)
    return "\n".join(line for row, line in numbered if row in kept or line.strip())


def _prose(node: ast.AST, lines: list[str]) -> range:
    """Numbers of the lines that a statement fills if it is but a string; none if code stands on one too."""
    if not (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return range(0)
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[node.end_lineno - 1].encode()[node.end_col_offset :]
    return range(0) if before.strip() or after.strip() else range(node.lineno, node.end_lineno + 1)


def _digest(paths: Iterable[Path], read: Callable[[Path], bytes], extra: Iterable[str]) -> str:
    digest = hashlib.sha256()
    root = PACKAGE.parent
    for path in sorted(Path(p).resolve() for p in paths):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        digest.update(f"{name}\0".encode() + hashlib.sha256(read(path)).digest())
    for text in extra:
        digest.update(f"\0{text}".encode())
    return digest.hexdigest()


def _imported(file: Path) -> tuple[str, ...]:
    """Dotted names that `file` imports; ``a.*`` stands for whatever the package ``a`` exports lazily."""
    return _imports(file, file.stat().st_mtime_ns)[0]


def _exported(file: Path, name: str) -> tuple[str, ...]:
    """Dotted names behind a name that `file` exports lazily, behind all of them if it is ``*``."""
    exports = _imports(file, file.stat().st_mtime_ns)[1]
    return tuple(d for n, dotted in exports.items() if name in (n, "*") for d in dotted)


@functools.cache
def _imports(file: Path, _mtime: int) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Dotted names that `file` imports, and those behind each name that it exports lazily."""
    names: dict[str, None] = {}
    exports: dict[str, tuple[str, ...]] = {}
    for node, typing in _statements(_tree(file)):
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(n for alias in node.names for n in _whole(alias))
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, file)
            for alias in node.names:
                dotted = (base, f"{base}.{alias.name}", f"{base}.{alias.name}.*")
                if typing and file.name == "__init__.py" and alias.name != "*":
                    exports[alias.asname or alias.name] = dotted
                else:
                    names |= dict.fromkeys(dotted)
    return tuple(names), exports


def _whole(alias: ast.alias) -> list[str]:
    """``import a.b`` gives a and a.b with all that they hold, ``import a.b as c`` only a.b."""
    parts = alias.name.split(".")
    bound = range(len(parts) if alias.asname else 1, len(parts) + 1)
    return [alias.name, *(".".join((*parts[:depth], "*")) for depth in bound)]


def _base(node: ast.ImportFrom, file: Path) -> str:
    """The module of a ``from`` import; a relative one counts from the file's own package."""
    if not node.level:
        return node.module or ""
    package = file.parent.relative_to(PACKAGE.parent).parts
    return ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """All statements at any depth, and whether only a type checker reads them.

    Imports are statements, so expressions, most of a tree, are passed by.
    """
    queue: list[tuple[ast.AST, bool]] = [(tree, False)]
    while queue:
        node, typing = queue.pop()
        yield node, typing
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = typing or (name == "body" and _asks_for_typing(node))
            queue += [(child, inside) for child in getattr(node, name, ())]


def _asks_for_typing(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))  # or typing.TYPE_CHECKING


def _tree(file: Path) -> ast.Module:
    """The parsed source; of a notebook's script without IPython magics, which are no Python."""
    text = file.read_text(encoding="utf-8")
    try:
        return ast.parse(text, str(file))
    except SyntaxError:
        lines = ("" if line.lstrip().startswith(("%", "!")) else line for line in text.splitlines())
        return ast.parse("\n".join(lines), str(file))


def _own(name: str) -> list[Path]:
    """Files of this package that importing `name` executes: the module and the packages above it."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name:
        return []
    found = []
    for depth in range(1, len(parts) + 1):
        stem = PACKAGE.parent.joinpath(*parts[:depth])
        found += [p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
    return found


def _lazy(name: str) -> tuple[str, ...]:
    """What stands behind the last part of `name`, if a package of ours exports that part lazily."""
    *package, part = name.split(".")
    file = PACKAGE.parent.joinpath(*package, "__init__.py")
    return _exported(file, part) if package[:1] == [PACKAGE.name] and file.is_file() else ()


@functools.cache
def _providers() -> dict[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _distributions(modules: set[str]) -> list[str]:
    third = {m for m in modules if m and m not in sys.stdlib_module_names and m != PACKAGE.name}
    return sorted({line for module in third for line in _versions(module)})


@functools.cache
def _versions(module: str) -> tuple[str, ...]:
    """``name==version`` of what provides a module; none if nothing installed does."""
    name = RENAMED.get(module, module)
    try:
        return (f"{name}=={importlib.metadata.version(name)}",)
    except importlib.metadata.PackageNotFoundError:
        return tuple(f"{name}=={importlib.metadata.version(name)}" for name in _providers().get(module, []))
