"""Which encoding a text file is in: certain, likely (with a warning), or refused with the first bad byte."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.errors import AffilError, UsageError

_CHUNK = 1 << 20
#: Text that charset-normalizer gets to see: lines with non-ASCII bytes only, for those alone tell.
_SAMPLE_BYTES = 1 << 16
#: A file that is not UTF-8, yet more than this share of its non-ASCII lines is, has two encodings in one.
_MAX_UTF8_SHARE = 0.02
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES = [
    *("cp1252", "cp1250", "cp1251", "koi8_r", "gb18030", "cp932", "euc_jp", "cp949", "big5"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2"),
]
#: Charset-normalizer's measures within these of the best count as a draw.
_CHAOS_DRAW, _COHERENCE_DRAW = 0.03, 0.15
#: Frequent words of affiliations with a letter outside ASCII: they decide between the Latin code pages, which
#: letter frequencies cannot tell apart in short texts that are mostly ASCII.
_WORDS_LISTED = """
    université faculté école médecine génie génétique électronique supérieure santé département françois
    montréal québec orléans besançon hôpital hôpitaux fédérale für münchen köln düsseldorf zürich tübingen
    würzburg göttingen nürnberg österreich universität universitätsklinikum españa málaga
    investigación educación biología química física ingeniería tecnología córdoba cádiz león coruña méxico
    bogotá politécnica politécnico são ciências saúde brasília paraná ceará goiás pará investigação educação
    københavns københavn århus sjælland ålborg göteborg göteborgs malmö linköping umeå örebro växjö högskola
    högskolan tromsø norrköping jyväskylä jyväskylän forlì società facoltà università háskóli háskóla
    łódź łódzki łódzka wrocław wrocławski wrocławska kraków krakowie śląska śląski gdańsk gdański gdańska
    poznań toruń białystok rzeszów wydział górniczo-hutnicza częstochowa częstochowska
    přírodovědecká lékařská fakultní věd ústav vysoké učení technické plzeň české český česká životního
    košice žilina žilinská prešov prešovská šafárika műszaki tudományegyetem orvostudományi győr pécs pécsi
    bucurești bucureşti iași iaşi timișoara timişoara românia sveučilište tehnički niš nišu šibenik
    üniversitesi fakültesi boğaziçi tıp eğitim araştırma hastanesi türkiye müdürlüğü mühendisliği
    šiaulių klaipėdos mokslų universitāte rīga rīgas ülikool"""
_WORDS = frozenset(_WORDS_LISTED.split())

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True)
class _Survey:
    """A file that is not UTF-8: how many lines are not ASCII, how many of those are UTF-8, a sample."""

    n_lines: int
    n_utf8_lines: int
    sample: bytes


def find_encoding(open_bytes: Opener, name: str, asked: str | None = None) -> tuple[str, str | None]:
    """A way to open the bytes in, (encoding that decodes all of them, warning or None) out.

    Args:
        open_bytes: opens the (unpacked) bytes from their start; called several times.
        name: the file, as errors shall name it.
        asked: the encoding that the user says it is; then nothing is guessed.

    Raises:
        UsageError: `asked` is no text encoding.
        AffilError: bytes that the encoding cannot hold, mixed encodings, or no encoding that is sure enough.
    """
    with open_bytes() as stream:
        start = stream.read(4096)
    marked = next((encoding for bom, encoding in _BOMS if start.startswith(bom)), None)
    if asked is not None:
        encoding = _with_bom(_known(asked), marked)
    else:
        encoding = marked or "utf-8"
        _refuse_unmarked_utf16(start, name, marked)
    bad = first_bad_byte(open_bytes, encoding)
    if bad is None:
        return encoding, None
    if asked is not None or marked is not None:
        raise AffilError(f"{name}: byte {bad} is not {encoding}; convert the file or give another --encoding")
    return _detect(open_bytes, name, bad)


def first_bad_byte(open_bytes: Opener, encoding: str) -> int | None:
    """Bytes in, offset (from 0) of the first one that `encoding` cannot decode out, None if there is none."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    n_read = 0
    with open_bytes() as stream:
        for chunk in _chunks(stream):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return n_read - pending + error.start
            except UnicodeError:
                return n_read - pending
            n_read += len(chunk)
    return None


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream in pieces, an empty one last."""
    while chunk := stream.read(_CHUNK):
        yield chunk
    yield b""


def _known(asked: str) -> str:
    try:
        b"".decode(asked)
        return codecs.lookup(asked).name
    except (LookupError, UnicodeError, ValueError):
        raise UsageError(
            f"unknown encoding {asked!r}; try utf-8, utf-16, cp1252, gb18030, shift_jis …"
        ) from None


def _with_bom(encoding: str, marked: str | None) -> str:
    """The byte order mark is no part of the text, even where the user names the encoding without it."""
    family = {"utf-8": "utf-8-sig", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}
    return family[encoding] if marked is not None and family.get(encoding) == marked else encoding


def _refuse_unmarked_utf16(start: bytes, name: str, marked: str | None) -> None:
    """ASCII in UTF-16 without its mark is valid UTF-8 full of NULs: better to ask than to mangle."""
    if marked or len(start) < 8:
        return
    even, odd = start[0::2].count(0) / len(start[0::2]), start[1::2].count(0) / len(start[1::2])
    if max(even, odd) > 0.4 and min(even, odd) < 0.1:
        likely = "utf-16-be" if even > odd else "utf-16-le"
        raise AffilError(f"{name} looks like UTF-16 without a byte order mark; give --encoding {likely}")


def _detect(open_bytes: Opener, name: str, bad: int) -> tuple[str, str]:
    survey = _survey(open_bytes)
    if survey.n_utf8_lines > _MAX_UTF8_SHARE * survey.n_lines:
        raise AffilError(
            f"{name}: byte {bad} is not UTF-8, though {survey.n_utf8_lines} of {survey.n_lines} lines with"
            " non-ASCII letters are; repair that place, or give --encoding if the file is all one encoding"
        )
    fitting = _fitting(survey.sample)
    encoding = fitting[0] if len(fitting) == 1 else None
    if encoding is None or first_bad_byte(open_bytes, encoding) is not None:
        could_be = f" (it could be {', '.join(fitting)})" if len(fitting) > 1 else ""
        raise AffilError(
            f"{name}: byte {bad} is not UTF-8 and the encoding cannot be told for sure{could_be};"
            " give --encoding, or save the file as UTF-8"
        )
    return encoding, f"{name} is not UTF-8 (byte {bad}); read as {encoding}; give --encoding if that is wrong"


def _survey(open_bytes: Opener) -> _Survey:
    n_lines = n_utf8 = n_sample = 0
    sample: list[bytes] = []
    with open_bytes() as stream:
        for line in stream:
            if line.isascii():
                continue
            n_lines += 1
            try:
                line.decode("utf-8")
                n_utf8 += 1
            except UnicodeDecodeError:
                if n_sample < _SAMPLE_BYTES:
                    sample.append(line)
                    n_sample += len(line)
    return _Survey(n_lines, n_utf8, b"".join(sample)[: 4 * _SAMPLE_BYTES])


def _fitting(sample: bytes) -> list[str]:
    """Encodings that the sample could be in and that would make different texts of it; one means sure."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(sample, cp_isolation=_CANDIDATES, enable_fallback=False))
    if not matches:
        return []
    chaos = min(match.chaos for match in matches)
    clean = [match for match in matches if match.chaos <= chaos + _CHAOS_DRAW]
    coherence = max(match.coherence for match in clean)
    texts: dict[str, str] = {}
    for match in clean:
        if match.coherence >= coherence - _COHERENCE_DRAW:
            alike = [encoding for encoding in _CANDIDATES if encoding in match.could_be_from_charset]
            texts[alike[0]] = str(match)
    words = {encoding: _known_words(text) for encoding, text in texts.items()}
    sure = [
        mine for mine in texts if all(_beats(words[mine], words[other]) for other in texts if other != mine)
    ]
    return sure or sorted(texts, key=_CANDIDATES.index)


def _known_words(text: str) -> Counter[str]:
    stripped = (word.strip(".,;:()\"'") for word in text.lower().split())
    return Counter(word for word in stripped if word in _WORDS)


def _beats(mine: Counter[str], other: Counter[str]) -> bool:
    """Whether words known in this reading only are more than twice those known in the other only."""
    return (mine - other).total() > 2 * (other - mine).total()
