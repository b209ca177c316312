"""The import-linter contract "closure": what may run when a module is imported, named completely.

The built-in contracts ban what is listed; a room that appears later is in no list. This one allows what is listed.
It also counts what the built-in ones don't see: importing ``infra.filesystem.local`` runs ``infra/__init__.py`` and
``infra/filesystem/__init__.py`` too.

Imports inside functions count as well: late imports make a start fast, they don't make a bundle small.
A source module that isn't there yet gives a warning, not an error.
"""

import sys
from collections.abc import Iterator

import grimp
from importlinter import Contract, ContractCheck, fields, output


class ClosureContract(Contract):
    """Everything reachable from ``source_modules`` lies in ``allowed_modules`` or is an allowed external package.

    Fields:
        source_modules: Modules or packages; packages stand for all in them.
        allowed_modules: Of this project, each with its descendants; the source modules themselves needn't be listed,
            nor the ``__init__`` of a package above an allowed module.
        allowed_externals: Installed packages besides the standard library. Left out: not checked.
    """

    type_name = "closure"

    source_modules = fields.ListField(subfield=fields.StringField())
    allowed_modules = fields.ListField(subfield=fields.StringField())
    allowed_externals = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Walk the imports breadth first, so that the chain shown is a shortest one."""
        warnings = []
        violations: dict[str, list[str]] = {}
        for source in self.source_modules:
            if source not in graph.modules:
                warnings.append(f"{source} is not there yet")
                continue
            roots = sorted({source, *graph.find_descendants(source), *_packages_above(source)})
            came_from: dict[str, str | None] = dict.fromkeys(roots)
            waiting = list(roots)
            for module in waiting:
                for imported in sorted(_imported_by(graph, module)):
                    if imported in came_from:
                        continue
                    came_from[imported] = module
                    if self._is_allowed(graph, source, imported):
                        # What is outside isn't walked: its own imports are the business of who packs the bundle.
                        if not graph.is_module_squashed(imported):
                            waiting.append(imported)
                    else:
                        violations.setdefault(imported, _chain(came_from, imported))
        return ContractCheck(kept=not violations, warnings=warnings, metadata={"violations": violations})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one shortest chain for each module that may not be reached."""
        for imported, chain in sorted(check.metadata["violations"].items()):
            output.print_error(f"{imported} may not be reached: {' -> '.join(chain)}", bold=False)

    def _is_allowed(self, graph: grimp.ImportGraph, source: str, imported: str) -> bool:
        if graph.is_module_squashed(imported):
            externals = self.allowed_externals
            return externals is None or imported in sys.stdlib_module_names or imported in externals
        # The packages above an allowed module run with it, but nothing else in them may.
        return any(_is_in(imported, package) or imported in _packages_above(package) for package in (source, *self.allowed_modules))


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _packages_above(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _imported_by(graph: grimp.ImportGraph, module: str) -> set[str]:
    """What runs when ``module`` does: what it imports, and each package above that."""
    direct = graph.find_modules_directly_imported_by(module)
    return direct | {package for imported in direct for package in _packages_above(imported) if package in graph.modules}


def _chain(came_from: dict[str, str | None], module: str) -> list[str]:
    chain = [module]
    while (before := came_from[chain[-1]]) is not None:
        chain.append(before)
    return chain[::-1]
