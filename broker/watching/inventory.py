"""All audio that was seen in the folder, as it was last seen, and the names of its results."""

from collections import Counter
from collections.abc import Iterator, Sequence

from golem_chain.broker.watching.files import Entry, Signature, result_name, stem
from golem_chain.broker.watching.journal import Journal


class Inventory:
    """The files of one folder. Their results never have the same name."""

    def __init__(self, journal: Journal, forms: Sequence[str]) -> None:
        self._journal, self._forms = journal, forms
        self._seen: dict[str, Signature | None] = {}
        self._stems: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._seen))

    def __contains__(self, file: str) -> bool:
        return file in self._seen

    def get(self, file: str) -> Signature | None:
        """Return a file as it was last seen; None if it is gone."""
        return self._seen.get(file)

    def meet(self, file: str) -> None:
        """Note that there is a file of this name."""
        if file not in self._seen:
            self._stems[stem(file)] += 1
            self._seen[file] = None

    def see(self, file: str, seen: Signature) -> None:
        """Note what a file looks like."""
        self.meet(file)
        self._seen[file] = seen

    def forget(self, file: str) -> None:
        """Drop a file that is gone."""
        if file in self._seen:
            del self._seen[file]
            self._stems[stem(file)] -= 1

    def places(self, file: str, entry: Entry | None) -> list[str]:
        """Return the paths of a file's results, one for each format: those they have had, or new ones that are no other
        file's."""
        had = {result.rpartition(".")[2]: result for result in entry.results} if entry else {}
        return [had.get(form) or self._place(file, form) for form in self._forms]

    def _place(self, file: str, form: str) -> str:
        short = result_name(file, form, whole=False)
        shared = self._stems[stem(file)] > 1 or self._journal.owner(short) not in (None, file)
        return result_name(file, form, whole=shared)
