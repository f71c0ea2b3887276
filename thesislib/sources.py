"""Which source files a module depends on, and one hash over them.

Caches that look only at a notebook's cells, or only at one function, are blind to a change in an imported
module. Both caches here (:mod:`thesislib.memo` and the book's own) use the closure computed below.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# Modules not called like their distribution; others are found too, but to read all installed records is slow.
RENAMED = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "PyYAML"}


def closure(start: Path) -> tuple[list[Path], list[str]]:
    """Everything `start` imports, directly or through modules of this package.

    Imports are read from the source text, so nothing is executed, and imports inside functions count.

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
    files, modules, queue = set(), set(), [Path(start).resolve()]
    while queue:
        file = queue.pop()
        if file in files:
            continue
        files.add(file)
        for name in _imports(file, file.stat().st_mtime_ns):
            modules.add(name.partition(".")[0])
            queue += [found for found in _own(name) if found not in files]
    return sorted(files), _distributions(modules)


def fingerprint(paths: Iterable[Path], *extra: str) -> str:
    """SHA-256 over the contents of files (and their place below this package's parent) and some strings."""
    digest = hashlib.sha256()
    root = PACKAGE.parent
    for path in sorted(Path(p).resolve() for p in paths):
        name = path.relative_to(root) if path.is_relative_to(root) else path.name
        digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    for text in extra:
        digest.update(f"\0{text}".encode())
    return digest.hexdigest()


@functools.cache
def _imports(file: Path, _mtime: int) -> tuple[str, ...]:
    """Dotted names that `file` imports; ``from a.b import c`` gives both ``a.b`` and ``a.b.c``."""
    names: list[str] = []
    for node in _statements(_tree(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: resolve against the file's own package
                package = file.parent.relative_to(PACKAGE.parent).parts
                base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(names))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements at any depth. Imports are statements, so expressions, most of a tree, are passed by."""
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            queue += getattr(node, name, ())


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
