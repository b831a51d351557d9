"""Forms with files: fields as they were sent, each file as an upload."""

import hashlib
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile

from golem_chain.broker.doors.door import Caller, Door
from golem_chain.broker.doors.intake.uploads import Upload


@dataclass(frozen=True)
class Form:
    """A multipart form, or one that is urlencoded. A field can occur several times."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[Upload, ...]

    def all(self, *names: str) -> list[str]:
        """Return the values of the fields of these names, in the order in which they came."""
        return [value for name, value in self.fields if name in names]

    def one(self, name: str) -> str | None:
        """Return the last value of a field, None if there is none or it is empty."""
        return next((value for value in reversed(self.all(name)) if value), None)


async def read_form(request: Request, door: Door, caller: Caller, files_most: int = 1) -> Form:
    """Read a form with up to `files_most` files. Raises AudioAboveLimit, VaultFull, HttpError."""
    fields, files = [], []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                data = await value.read()
                files.append(Upload(value.filename or "audio", len(data), hashlib.sha256(data).hexdigest(), data))
            else:
                fields.append((name, value))
    return Form(tuple(fields), tuple(files))
