"""The parts of a multipart form (RFC 7578), parsed as its bytes come: pure, and bounded in all that it keeps."""

import logging
from typing import Literal, TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from golem_chain.broker.doors.errors import HttpError
from golem_chain.shared.text import visible

#: What was found: a file begins (its name), bytes of it, its end.
Event: TypeAlias = tuple[Literal["file", "data", "end"], bytearray]

#: Fields of a form, bytes of all of them together, of one, and of one that can hold a list.
FIELDS_MOST, FIELDS_BYTES = 100, 1 << 20
FIELD_BYTES, LONG_FIELD_BYTES = 64 * 1024, 256 * 1024
LONG_FIELDS = frozenset({"labels", "vocabulary", "fillers", "hotwords", "prompt", "text"})
#: The fields in which files come.
FILE_FIELDS = frozenset({"file", "file[]", "files", "files[]"})
#: Bytes that may follow the end of a form.
_EPILOGUE_BYTES = 1024

# The parser logs what it skips; whoever sends it would fill our log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class Parts:
    """The parts of one form with at most `files_most` files. Every method raises HttpError 400 and 413."""

    def __init__(self, boundary: bytes, files_most: int) -> None:
        if not boundary:
            raise _broken("the header Content-Type names no boundary")
        self._files_most, self._files = files_most, 0
        self.fields: list[tuple[str, str]] = []
        self._fields_bytes = 0
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name, self._text, self._in_file, self._is_blank = "", bytearray(), False, False
        self._events: list[Event] = []
        self._ended, self._epilogue_bytes = False, 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise _broken("its boundary is too long") from None

    def feed(self, data: bytes) -> list[Event]:
        """Parse the next bytes, and return what was found of files in them."""
        if self._ended:
            self._epilogue_bytes += len(data)
            if self._epilogue_bytes > _EPILOGUE_BYTES:
                raise _broken("it goes on after its end")
            return []
        try:
            self._parser.write(data)
        except FormParserError:
            raise _broken("its parts cannot be told apart: check the boundary") from None
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """Check that the form has come whole."""
        if not self._ended:
            raise _broken("it ends in the middle")

    # -- called by the parser

    def _on_part_begin(self) -> None:
        self._disposition, self._text = b"", bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _broken("a part of it has no name")
        self._name = options[b"name"].decode("utf-8", "backslashreplace")
        self._in_file = b"filename" in options
        self._is_blank = self._in_file and not options[b"filename"]
        if not self._in_file:
            self._count_field()
        elif not self._is_blank:
            self._begin_file(options[b"filename"])

    def _count_field(self) -> None:
        if len(self.fields) >= FIELDS_MOST:
            raise HttpError(400, f"The form has more than {FIELDS_MOST} fields.", "too_many_fields")
        self._count_bytes(len(self._name))

    def _begin_file(self, name: bytes) -> None:
        if self._name not in FILE_FIELDS:
            raise HttpError(400, f'Send files in the field file, not in "{self._shown}".', "invalid_form", self._shown)
        self._files += 1
        if self._files > self._files_most:
            several = "no file" if not self._files_most else "one file" if self._files_most == 1 else None
            most = several or f"at most {self._files_most} files"
            raise HttpError(400, f"This takes {most}: send fewer.", "too_many_files", "file")
        self._events.append(("file", bytearray(name)))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_blank:  # a browser sends a part without a name where no file was chosen
            raise HttpError(400, "A file of the form has no name: give it one.", "invalid_form", "file")
        if self._in_file:
            if not self._events or self._events[-1][0] != "data":  # bytes like a boundary come in small pieces
                self._events.append(("data", bytearray()))
            self._events[-1][1].extend(memoryview(data)[start:end])
            return
        self._count_bytes(end - start)
        self._text += data[start:end]
        most = LONG_FIELD_BYTES if self._name in LONG_FIELDS else FIELD_BYTES
        if len(self._text) > most:
            message = f"The field {self._shown} has more than {most // 1024} KiB."
            raise HttpError(413, message, "field_too_large", self._shown)

    def _count_bytes(self, more: int) -> None:
        self._fields_bytes += more
        if self._fields_bytes > FIELDS_BYTES:
            message = f"The fields of the form have more than {FIELDS_BYTES // 1024} KiB in all."
            raise HttpError(413, message, "request_too_large")

    def _on_part_end(self) -> None:
        if self._is_blank:
            return
        if self._in_file:
            self._events.append(("end", bytearray()))
            return
        try:
            self.fields.append((self._name, self._text.decode()))
        except UnicodeDecodeError:
            raise HttpError(400, f"The field {self._shown} is not in UTF-8.", "invalid_form", self._shown) from None

    def _on_end(self) -> None:
        self._ended = True

    @property
    def _shown(self) -> str:
        return visible(self._name, 60)


def _broken(why: str) -> HttpError:
    return HttpError(400, f"The form cannot be read: {why}.", "invalid_form")
