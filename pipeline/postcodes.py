"""Postcodes and other postal debris (boxes, Cedex) of the main countries: told apart, and stripped."""

from __future__ import annotations

import re
from functools import cache

#: Forms by country, without the country's letters in front; upper case, hyphens plain.
_FORMS = {
    r"\d{5}(-\d{4})?": "US SA PR",
    r"[ABCEGHJ-NPRSTVXY]\d[A-Z][ -]?\d[A-Z]\d": "CA",
    r"(GIR ?0AA|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})": "GB JE GG IM",
    r"[A-Z]\d[\dW] ?[A-Z][A-Z\d]{3}": "IE",
    r"\d{5}": "DE FR ES IT FI TR MX MY TH ID EG UA HR RS EE LT PK PE MA DZ JO KW MC RE GP MQ GF LK NP CU IQ",
    r"[WO]-\d{4}": "DE",
    r"\d{4}": "AU NZ CH AT BE DK NO HU LU ZA BG SI CY BD PH TN LI MK GE AM NP VE",
    r"\d{4} ?[A-Z]{2}": "NL",
    r"\d{3} ?\d{2}": "SE CZ SK GR",
    r"\d{2}-?\d{3}": "PL",
    r"\d{4}(-\d{3})?": "PT",
    r"\d{3}-?\d{4}": "JP",
    r"\d{6}": "CN RU SG RO KZ CO VN BY UZ KG TJ MN EC",
    r"\d{3}[ -]?\d{3}": "IN",
    r"(\d{3}-\d{3}|\d{5})": "KR",
    r"\d{3}(\d{2,3})?": "TW",
    r"(\d{5}-?\d{5}|\d{5}(-\d{3,4})?|\d{10})": "IR",
    r"\d{2}\.?\d{3}-?\d{3}": "BR",
    r"[A-Z]\d{4}[A-Z]{3}": "AR",
    r"[A-Z]?\d{4}": "AR",
    r"\d{3}[ -]?\d{4}": "CL",
    r"(\d{5}|\d{7})": "IL",
    r"\d{3}": "IS FO",
}
#: Forms that speak for themselves when the country is not known; "100" and "U1018" are too common.
_ANY_FORM = "|".join(
    f"(?:{form})" for form in _FORMS if form not in {r"\d{3}", r"\d{3}(\d{2,3})?", r"[A-Z]?\d{4}"}
)
_LETTERS = (
    r"(?:(?:CH|AT?|BE?|DE?|DK|NO?|HU?|SE?|SF|FI|FIN|IT?|ES?|FR?|PT?|NL|PL|LU?|CZ|SK|SI|SLO|HR|YU|LT|LV|EE|RO"
    r"|BG|GR|UA|TR|IL|CN|IN|RUS|RU|US|MX|BR|AU|KR|JP|CEP|CP|PIN(?: CODE)?|ZIP(?: CODE)?|CODIGO POSTAL)"
    r"(?:[-:]| (?=\d)| - ?)|〒)"
)
_BOX = (
    r"(?:P *O *B(?:OX)?|POST(?:AL)? ?BOX|BOX|MAIL ?BOX|B *P|C *P|P *B|CASILLA(?: POSTAL)?|CASELLA POSTALE"
    r"|APARTADO(?: POSTAL| DE CORREOS)?|A(?:P|PDO|PTDO) *POSTAL|APDO|POSTFACH|POSTBUS|BO[IÎ]TE POSTALE"
    r"|CAIXA POSTAL|C *S|TSA)"
    r"[ :#]*(?:NO ?)?[A-Z]?\d[\d/-]*(?: ?[A-Z]\b)?"
)
_CEDEX = r"CEDEX(?: ?\d{1,2})?"
_POSTAL = rf"(?:{_BOX}|{_CEDEX}|{_LETTERS}?(?:{_ANY_FORM}))"
#: Indian codes may hang on the town by a hyphen ("Chennai-600036").
_HYPHENED = r"(?<=[A-Z]) ?- ?(?=\d{5}|\d{3} \d{3})"
#: A postal form that begins or ends a text, or, for `cut_postcodes`, stands anywhere in it as whole words.
_AT_END = re.compile(rf"(?:^|[\s,;]|{_HYPHENED})(?:{_POSTAL})$")
_AT_START = re.compile(rf"^(?:{_POSTAL})(?=[\s,;]|$)")
_WHOLE = re.compile(_POSTAL)
#: A district number may follow a town in a segment ("Genève 4", "Paris 5", "London SE5").
_ANYWHERE = re.compile(
    rf"(?:(?<=[\s,;])|^|{_HYPHENED})(?:{_POSTAL}|\d{{1,2}}(?=\s*$)|[A-Z]{{1,2}}\d[A-Z\d]?(?=\s*$))(?=[\s,;]|$)"
)
#: "UMR 5175" and "12345 Main Street" hold numbers that are no postcodes.
_NUMBERED = re.compile(
    r"UMRS?|UPR|UMS|UPRES|URA|UR|U?EA?|U|UNITE?|INSERM|CNRS|ERL|FRE|EPI|CIC|BUILDING|BLDG|ROOM|RM|NO|NR|N°|NUMBER"
    r"|SUITE|ROAD|RD|STREET|ST|AVENUE|AVE|KM|HOUSE|FLOOR|LAB(ORATORY)?|HOSPITAL|GRANT|SECTION|COST|MS|M/S"
)
_STREET = re.compile(
    r"\b(STREET|ST|ROAD|RD|AVENUE|AVE?|BLVD|BOULEVARD|DRIVE|DR|LANE|LN|WAY|HIGHWAY|HWY|PARKWAY|PKWY|PLACE|COURT"
    r"|RUE|HOSPITAL|MIDDLE|NORTH|SOUTH|EAST|WEST)\b"
)
#: Every postal form holds a digit, but Cedex.
_MAY_BE_POSTAL = re.compile(r"\d|cedex", re.IGNORECASE)
_DASHES = str.maketrans("‐‑‒–—−", "------")


def may_be_postal(text: str) -> bool:
    """Whether a text holds what every postal form has; most texts do not, which spares the search for one."""
    return _MAY_BE_POSTAL.search(text) is not None


def _shape(text: str) -> str:
    """Text in; upper case of the same length out, with plain hyphens and without periods after letters."""
    if text.isascii():
        upper = text.upper()
    else:
        upper = "".join(c.upper() if len(c.upper()) == 1 else c for c in text.translate(_DASHES))
    if "." not in upper:
        return upper
    return re.sub(r"(?<=[A-Z])\.(?=\s|[A-Z]|$)", " ", upper)


@cache
def _country_form(country_code: str) -> re.Pattern[str] | None:
    forms = [form for form, countries in _FORMS.items() if country_code in countries.split()]
    return re.compile(f"{_LETTERS}?(?:{'|'.join(forms)})") if forms else None


def is_postcode(text: str, country_code: str | None = None) -> bool:
    """A text in; whether the whole of it is a postcode, a post box or a Cedex, out.

    With a country code only that country's form counts (with or without its letters in front), besides boxes;
    without one, any known form except bare three digits. A country whose form is not known has no postcodes.
    """
    if not may_be_postal(text):
        return False
    shaped = re.sub(r" {2,}", " ", _shape(text)).strip(" ,;.")
    if country_code is None:
        return _WHOLE.fullmatch(shaped) is not None
    if re.fullmatch(rf"{_BOX}|{_CEDEX}", shaped):
        return True
    form = _country_form(country_code)
    return form is not None and form.fullmatch(shaped) is not None


def strip_postcodes(text: str) -> str:
    """A text in; without the postcodes, boxes and Cedex at its two ends out (`""` where it was nothing else).

    Numbers of units and streets are left: "UMR 5175", "12345 Main Street".
    """
    text = text.strip(" ,;")
    if not may_be_postal(text):
        return text
    while text and (rest := _strip_once(text)) != text:
        text = rest.strip(" ,;-")
    return text


def _strip_once(text: str) -> str:
    shaped = re.sub(r" {2,}", lambda gap: " " * len(gap[0]), _shape(text))
    if len(shaped) != len(text):
        return text
    if found := _AT_END.search(shaped):
        before = shaped[: found.start()].rstrip(" ,;-").rpartition(" ")[2]
        if not _NUMBERED.fullmatch(before) or not found[0].strip(" ,;-").isdigit():
            return text[: found.start()]
    found = _AT_START.search(shaped)
    if found and not (found[0].isdigit() and _STREET.search(shaped)):
        return text[found.end() :]
    return text


def cut_postcodes(text: str) -> tuple[str, tuple[str, ...]]:
    """A text in; the text without any postal form that stands in it as whole words, and those forms, out.

    Bolder than `strip_postcodes` (inner ones and district numbers too): for texts whose rest is then checked.
    """
    shaped = _shape(text)
    if len(shaped) != len(text):
        return text, ()
    kept, codes, start = [], [], 0
    for found in _ANYWHERE.finditer(shaped):
        kept.append(text[start : found.start()])
        codes.append(found[0].strip())
        start = found.end()
    return " ".join([*kept, text[start:]]), tuple(codes)
