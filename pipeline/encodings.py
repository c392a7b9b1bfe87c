"""Which encoding a text file is in: certain, likely (with a warning), or refused with the first bad byte."""

from __future__ import annotations

import codecs
import io
import re
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
_LATIN = frozenset(["cp1252", "cp1250", "cp1254", "cp1257", "iso8859_2"])
#: A script other than Latin is believed from this many bytes on, and with at most this share of mixed words.
_MIN_SCRIPT_BYTES, _MAX_MIXED_SHARE = 12, 0.25
#: Charset-normalizer's measures within these of the best count as a draw.
_CHAOS_DRAW, _COHERENCE_DRAW = 0.03, 0.15
#: Frequent words of affiliations with a letter outside ASCII: they decide between code pages that the
#: frequency of letters cannot tell apart in short texts that are mostly ASCII.
_WORDS_LISTED = """
    à très près première premières système systèmes écosystèmes modèle modèles matière matières ministère
    bibliothèque collège synthèse siècle diabète lumière infirmière infirmières forêt forêts intérêt
    polymère polymères élève élèves évêque hygiène œuvre œuvres cœur sacré-cœur sûreté problèmes
    rivière trois-rivières pêche pêches étrangères frère frères españa español española cataluña coruña
    señora niño niños núñez doñana acadèmia català ciències ciència politècnica autònoma universitària
    tecnològic biomèdica valència são ciências ciência investigação educação associação inovação fundação
    gestão formação comunicação joão reabilitação administração informação computação região direção
    construção relações comissão população inteligência agência conservação alimentação nutrição maranhão
    università società facoltà unità città attività qualità sanità forlì københavns københavn århus sjælland
    ålborg økonomi miljø miljøforskning højskole professionshøjskolen sønderjylland nykøbing lægeforeningen
    grønland grønlands ålesund tromsø miljøvitenskapelige høgskole høgskolen sør-trøndelag
    trøndelag språk forsøk førde skåne skånes umeå luleå borås västerås vård sjukvård forskningsråd
    vetenskapsrådet naturvårdsverket linnæus háskóli háskóla łódź łódzki łódzka łodzi wrocław wrocławiu
    wrocławski wrocławska śląska śląski śląskie śląskiego gdańsk gdańsku gdański gdańska poznań toruń
    białystok białymstoku wydział szkoła wyższa państwowa państwowy badań stanisława częstochowa
    częstochowska środowiska inżynierii zakład ośrodek sieć główna zarządzania łukasiewicz
    pięknych přírodovědecká přírodovědecké lékařská lékařské vědecká věd umění zemědělská zemědělský veřejná
    učení čr české česká český plzeň brně ostravě životního prostředí inženýrství řízení střední zdravotně
    žďár děčín společnost ústředí materiálů městská spoločenských poľnohospodárska bezpečnosti živočíšnej
    ľudovíta štúra műszaki művészeti főiskola főváros győr földművelésügyi erdő mezőgazdasági felsőoktatási
    gyűjtemény bucureşti iaşi timişoara ştiinţe şi constanţa târgovişte sveučilište tehnički niš kliničko
    građevinski građevinarstvo općina savjetovalište boğaziçi tıp eğitim eğitimi araştırma araştırmaları
    bakanlığı sağlık müdürlüğü derneği vakfı şehir eskişehir nevşehir doğu tarım mühendisliği çağ çağdaş
    dalı šiaulių klaipėdos mokslų universitāte rīga rīgas zinātņu institūts ūkio žemės
    университет университета институт государственный российский академия академии наук факультет кафедра
    россия москва университет університет університету інститут національний академії україни київ
    πανεπιστήμιο πανεπιστημίου τμήμα σχολή νοσοκομείο αθηνών θεσσαλονίκης אוניברסיטת האוניברסיטה המחלקה
    הפקולטה המרכז הרפואי جامعة كلية قسم مستشفى معهد
"""
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
        raise AffilError(
            f"{name}: byte offset {bad} is not {encoding}; convert the file or give another --encoding"
        )
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
        # Refuses codecs that are not of text, such as hex.
        io.TextIOWrapper(io.BytesIO(), encoding=asked).close()
        return codecs.lookup(asked).name
    except (LookupError, ValueError):
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
            f"{name}: byte offset {bad} is not UTF-8, though {survey.n_utf8_lines} of {survey.n_lines} lines"
            " with non-ASCII letters are; repair that place, or give --encoding if it is all one encoding"
        )
    fitting = _fitting(survey.sample)
    encoding = fitting[0] if len(fitting) == 1 else None
    if encoding is None or first_bad_byte(open_bytes, encoding) is not None:
        could_be = f" (it could be {', '.join(fitting)})" if len(fitting) > 1 else ""
        raise AffilError(
            f"{name}: byte offset {bad} is not UTF-8 and the encoding cannot be told for sure{could_be};"
            " give --encoding, or save the file as UTF-8"
        )
    return (
        encoding,
        f"{name} is not UTF-8 (byte offset {bad}); read as {encoding}; give --encoding if that is wrong",
    )


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
    return _Survey(n_lines, n_utf8, b"".join(sample))


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
    n_bytes = sum(byte > 127 for byte in sample)
    believed = [mine for mine in sure if mine in _LATIN or _is_another_script(texts[mine], n_bytes)]
    return believed or (sorted(texts, key=_CANDIDATES.index) if len(texts) > 1 else [])


def _is_another_script(text: str, n_bytes: int) -> bool:
    """Whether there is enough to tell a script, and few words mix it with Latin as "Universitיt" does."""
    words = [word for word in re.findall(r"\w+", text) if not word.isascii()]
    n_mixed = sum(re.search(r"[A-Za-z]", word) is not None for word in words)
    return n_bytes >= _MIN_SCRIPT_BYTES and n_mixed <= _MAX_MIXED_SHARE * len(words)


def _known_words(text: str) -> Counter[str]:
    stripped = (word.strip(".,;:()\"'") for word in text.lower().split())
    return Counter(word for word in stripped if word in _WORDS)


def _beats(mine: Counter[str], other: Counter[str]) -> bool:
    """Whether words known in this reading only are more than twice those known in the other only."""
    return (mine - other).total() > 2 * (other - mine).total()
