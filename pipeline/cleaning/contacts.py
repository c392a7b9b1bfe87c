"""How to reach somebody: e-mails, phones, correspondence notes, ORCID ids and links are set aside."""

from __future__ import annotations

import re

from pipeline.cleaning.people import first_segment_is_name

#: Pieces that were cut from a text, each with the reason.
Pieces = list[tuple[str, str]]

_LOCAL = r"(?:\{[^{}@]{1,200}\}|(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64})"
_DOMAIN = r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"
_ADDRESS = rf"{_LOCAL}(?:@|\s?[\[(]at[\])]\s?){_DOMAIN}"
_MAIL_LABEL = (
    r"(?:\b(?i:electronic (?:mail )?address(?:es)?|e-? ?mails?(?: address(?:es)?| id)?)|(?<=[a-z])E-?mail)"
)
_EMAIL = re.compile(rf"(?:{_MAIL_LABEL}\s?[:=.]?\s?)?{_ADDRESS}")
_LONE_MAIL_LABEL = re.compile(rf"{_MAIL_LABEL}\s?(?::|[.,;]?$)")

_PHONE = re.compile(
    r"\b(?:tel(?:e(?:phone|fax|fon))?|t[ée]l[ée](?:phone|fono)?|ph(?:one)?|fax|mobile|mob|cell)\b"
    r"(?:\s?[./&]\s?(?:fax|tel)\b)?(?:\s?(?:no|nr|number)\b)?[\s.:#-]{0,4}"
    r"[+(\d][\d\s()+./-]{5,30}\d(?:\s(?:or|ext\.?)\s\d{1,6})?",
    re.IGNORECASE,
)
_BARE_PHONE = re.compile(
    r"(?<![\w+])\+\d{1,3}[\s(.-]{0,2}\d[\d\s().-]{5,18}\d|\(\d{3}\)\s?\d{3}-\d{4}(?!\d)"
    r"|(?<![\d-])\d{3}-\d{3}-\d{4}(?![\d-])"
)
_CORRESPONDENCE = re.compile(
    r"[*(\s]{0,3}\b(?:authors? for correspondence|address(?: all)? correspondence(?: to)?"
    r"|(?:all )?correspondence (?:should be |may be )?(?:addressed )?to"
    r"|to whom correspondence should be addressed"
    r"|corresponding authors?(?:'s)?(?: address)?|correspondence(?: address| author)?(?=\s?:)"
    r"|reprint requests?(?: to)?|requests for reprints(?: to)?)\b\s?[:.]?\)?\s?",
    re.IGNORECASE,
)
_ORCID = re.compile(
    r"(?:\borcid(?:\s?id)?\s?[:#]?\s?)?(?:https?://)?(?:www\.)?(?:orcid\.org/)?"
    r"(?<![\d-])\d{4}-\d{4}-\d{4}-\d{3}[\dx](?!\d)|\borcid(?:\s?id)?\s?:",
    re.IGNORECASE,
)
_LINK = re.compile(r"(?:https?|ftp)://\S+|\bwww\.\S+|\b(?:doi:?\s?)?10\.\d{4,9}/\S+", re.IGNORECASE)


def set_aside_contacts(text: str, pieces: Pieces) -> str:
    """A text in, the same without e-mails, phones and notes on correspondence out; cuts join `pieces`."""
    lower = text.lower()
    if "@" in text or "mail" in lower or "(at)" in lower or "[at]" in lower or "electronic address" in lower:
        text = cut(_EMAIL, "email", text, pieces)
        text = cut(_LONE_MAIL_LABEL, "email", text, pieces)
    if (
        "tel" in lower
        or "fax" in lower
        or "ph" in lower
        or "tél" in lower
        or "mob" in lower
        or "cell" in lower
    ):
        text = cut(_PHONE, "phone", text, pieces)
    if "+" in text or "-" in text:
        text = cut(_BARE_PHONE, "phone", text, pieces)
    if "correspond" in lower or "reprint" in lower:
        text = _set_aside_correspondence(text, pieces)
    return text


def set_aside_links(text: str, pieces: Pieces) -> str:
    """A text in, the same without ORCID ids, web addresses and DOIs out; what was cut joins `pieces`."""
    lower = text.lower()
    if "orcid" in lower or text.count("-") >= 3:
        text = cut(_ORCID, "orcid", text, pieces)
    if "://" in text or "www." in lower or "10." in text:
        text = cut(_LINK, "url", text, pieces)
    return text


def _set_aside_correspondence(text: str, pieces: Pieces) -> str:
    at_start = _CORRESPONDENCE.match(text)
    text = cut(_CORRESPONDENCE, "correspondence", text, pieces, between="; ").lstrip(";. ")
    if at_start and first_segment_is_name(text):
        name, _, text = text.partition(",")
        pieces.append((name.strip(), "person_name"))
    return text


def cut(pattern: re.Pattern[str], reason: str, text: str, pieces: Pieces, between: str = " ") -> str:
    """Every match of a pattern is replaced by `between` and joins `pieces` with the reason."""

    def take(match: re.Match[str]) -> str:
        piece = match[0].rstrip(".,;:)]}> ")
        pieces.append((piece.strip(" *;" if ")" in piece else " (*;"), reason))
        return between + match[0][len(piece) :].replace(":", "")

    return pattern.sub(take, text)
