"""Bytes to a tree of elements: byte order mark, declared encoding, entity attacks, size and depth.

expat knows only a few encodings, and Chinese senders use others, so the text is decoded here from the declaration and
expat is given characters.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Any
from xml.parsers.expat import errors as expat

from defusedxml.common import DefusedXmlException, DTDForbidden
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from api.cap.grammar import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, MAX_NAME
from api.cap.notes import Notes, Refused, quote

_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")

# A closed list: Python's codec registry also holds things that are no character encodings (zip, rot13).
_ENCODINGS = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", "ascii", "gb2312", "gbk", "gb18030", "big5", "big5hkscs", "shift_jis", "cp932", "euc_jp", "euc_kr"),
        *("koi8-r", "koi8-u", "tis-620", "cp874", "cp949"),
        *(f"iso8859-{n}" for n in (*range(1, 12), *range(13, 17))),
        *(f"cp125{n}" for n in range(9)),
    )
)
# Senders that declare gb2312 use characters of its supersets; the supersets decode the subset the same way.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030"}

_Parser: Any = DefusedXMLParser  # it comes without types


class Node:
    """An element: namespace, name, attribute names, direct text, children and the line it begins on."""

    __slots__ = ("attributes", "children", "line", "name", "namespace", "pieces")

    def __init__(self, namespace: str, name: str, attributes: tuple[str, ...], line: int) -> None:
        self.namespace = namespace
        self.name = name
        self.attributes = attributes
        self.line = line
        self.children: list[Node] = []
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def walk(self) -> Iterator["Node"]:
        """This element and all below it, in document order, without recursion."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))


class _Grower:
    """Receives expat's events and grows the tree, refusing what is too deep or too large."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.open: list[Node] = []
        self.count = 0
        self.parser: Any = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise Refused("cap.limit", f"The file has more than {MAX_ELEMENTS} elements.")
        if len(self.open) >= MAX_DEPTH:
            raise Refused("cap.limit", f"Elements are nested deeper than {MAX_DEPTH}.")
        namespace, _, name = tag.rpartition("}")
        if len(name) > MAX_NAME:
            raise Refused("cap.limit", f"An element name is longer than {MAX_NAME} characters.")
        node = Node(namespace[1:], name, tuple(attributes), self.parser.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node
        self.open.append(node)

    def end(self, _tag: str) -> None:
        self.open.pop()

    def data(self, text: str) -> None:
        if self.open:
            self.open[-1].pieces.append(text)

    def close(self) -> Node | None:
        return self.root


def _place(text: str) -> str:
    line = text.count("\n") + 1
    return f"line {line}, column {len(text) - text.rfind(chr(10))}"


def _encoding(data: bytes, notes: Notes) -> str:
    for mark, name in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return name
    if data[:4] in (b"<\0?\0", b"<\0a\0"):
        return "utf-16-le"
    if data[:4] in (b"\0<\0?", b"\0<\0a"):
        return "utf-16-be"
    found = _DECLARED.match(data[:400])
    if not found:
        return "utf-8"
    declared = found[1].decode("ascii")
    if declared.lower().replace("_", "-").startswith(("utf-16", "ucs-2", "iso-10646-ucs")):
        # The declaration itself was readable byte by byte, so it cannot be true; a re-encoded copy is UTF-8.
        notes.warn("cap.encoding_declared", "", f"The file declares {declared} but is not; it was read as UTF-8.")
        return "utf-8"
    try:
        name = codecs.lookup(declared).name
    except LookupError:
        name = ""
    if name not in _ENCODINGS:
        raise Refused("cap.encoding", f"The declared encoding {quote(declared)} is not supported; UTF-8 is expected.")
    return _WIDER.get(name, name)


def decode(data: bytes, notes: Notes) -> str:
    """The characters of an XML file (XML 1.0 section 4.3.3). Raises Refused if the bytes do not fit the encoding."""
    name = _encoding(data, notes)
    try:
        text = data.decode(name)
    except UnicodeDecodeError as fault:
        at = _place(data[: fault.start].decode(name, "replace"))
        raise Refused("cap.encoding", f"The bytes at {at} are not valid {name}.") from fault
    return text.removeprefix("\ufeff")


def grow(data: bytes, notes: Notes) -> Node:
    """The root element of an XML file.

    Raises Refused with cap.too_large, cap.encoding, cap.xml, cap.dtd, cap.entity or cap.limit.
    """
    if len(data) > MAX_BYTES:
        raise Refused("cap.too_large", f"The file is larger than the {MAX_BYTES} bytes that are read.")
    text = decode(data, notes)
    grower = _Grower()
    parser = _Parser(target=grower, forbid_dtd=True)
    grower.parser = parser
    try:
        parser.feed(text)
        root = parser.close()
    except DTDForbidden as fault:
        if "<!ENTITY" in text:
            raise Refused("cap.entity", "The file declares entities; a CAP message has none and needs none.") from fault
        raise Refused("cap.dtd", "The file has a document type declaration; a CAP message has none.") from fault
    except DefusedXmlException as fault:
        raise Refused("cap.entity", "The file refers to entities; a CAP message has none.") from fault
    except ParseError as fault:
        line, column = fault.position
        reason = expat.messages.get(fault.code, "not well-formed")
        at = f"at line {line}, column {column + 1}"
        if reason == expat.XML_ERROR_UNDEFINED_ENTITY:
            raise Refused("cap.entity", f"An entity that XML does not define is used {at}.") from fault
        raise Refused("cap.xml", f"The file is not well-formed XML {at}: {reason}.") from fault
    except ValueError as fault:  # expat's wrapper on characters it cannot take
        raise Refused("cap.xml", "The file holds characters that XML does not allow.") from fault
    finally:
        grower.parser = None  # the two refer to each other
    if not isinstance(root, Node):
        raise Refused("cap.xml", "The file holds no XML element.")
    return root
