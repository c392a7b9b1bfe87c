"""Words before a place that make it part of an organisation's name ("University of Sheffield", "TU München").

All words here are place keys (`pipeline.places.place_key`): lower case, no accents, no apostrophes.
"""

from __future__ import annotations

from collections.abc import Sequence

#: A place after one of these belongs to what stands before: prepositions, articles, conjunctions.
_LINKS = frozenset(
    "of de di da do dos das del della dello delle degli dei dell des du d von vom van der den zu zur am im an auf in "
    "at for fur pour para per by from near and und et y e i en og och ja ve a the la le el los las les lo il gli un une "
    "w v na nad pod u al el bin ibn sur sous lez les upon on to te ten ter aan bij".split()
)
#: First words of longer place names that the tables need not know ("West London", "San Fernando").
_PREFIXES = frozenset(
    "new north south east west northern southern eastern western central upper lower great greater inner outer old "
    "san santa santo sao st ste saint sainte sankt port porto fort mount mt lake cape puerto villa ciudad bad nova "
    "novo nueva nuevo neu alt gross klein nord sud sur norte oeste este".split()
)
#: Names of kinds and acronyms that mean nothing without the place right after them.
_HEADS = frozenset(
    "tu th fh hs haw htw oth fu hu ku eth rwth uni insa iut ens esc chu chru chr chi ufr inp polytech centrale iit nit "
    "iim iiit iiser aiims niser suny cuny csu klinikum uniklinik uniklinikum universitatsklinikum universitatsklinik "
    "universitatsmedizin universitatsspital kantonsspital stadtspital landesklinikum landeskrankenhaus krankenhaus "
    "hochschule fachhochschule musikhochschule ospedale policlinico umc ziekenhuis".split()
)
_UNIVERSITIES = frozenset(
    "university univ universities universitat universitaet universite universiteit universitet universitetet "
    "universidad universidade universita universitatea universitesi universiti universitas universitate univerzita "
    "uniwersytet egyetem yliopisto polytechnic politecnico polytechnique".split()
)
#: Kinds that want a proper name or a place: "General Hospital Vienna", but "Royal Marsden Hospital", London.
_KINDS = _UNIVERSITIES | frozenset(
    "hospital hospitals clinic clinics infirmary college school center centre hopital hopitaux clinica clinique".split()
)
_GENERIC = _KINDS | frozenset(
    "technical technische technological medical medizinische medicinal free freie vrije libre open national general "
    "central regional provincial state city municipal federal catholic cattolica islamic american chinese royal "
    "teaching academic public private military pedagogical agricultural normal autonomous autonoma autonome childrens "
    "children womens women business law dental veterinary health cancer heart eye community memorial tecnica".split()
)
#: Endings of the names of disciplines: a unit before a generic name is no part of it ("Chemistry University Hamburg").
_DISCIPLINES = ("ology", "ologie", "ologia", "istry", "ics", "ik", "iques", "ique", "sciences", "science")
_DISCIPLINES += ("medicine", "medizin", "surgery", "engineering", "mathematics", "chemie", "biologie", "pharmacy")
_DISCIPLINES += ("nursing", "dentistry", "economics", "history", "neurosurgery", "anesthesia", "psychiatry", "diseases")
#: Several words that end in a place's place: campus names, and colleges called after their city.
_PHRASES = (
    "indian institute of technology",
    "indian institutes of technology",
    "indian institute of management",
    "indian institute of information technology",
    "indian institute of science education and research",
    "national institute of technology",
    "national institute of pharmaceutical education and research",
    "all india institute of medical sciences",
    "university college",
    "imperial college",
    "kings college",
    "trinity college",
    "royal holloway university",
    "queen mary university",
    "school of business and economics",
    "california state university",
    "california state polytechnic university",
    "state university of new york",
    "city university of new york",
    "institut teknologi",
    "texas a m university",
)
#: Malay and Indonesian names end in the country: "Universiti Sains Malaysia", "Universitas Pendidikan Indonesia".
_MALAY_ADJECTIVES = frozenset(
    "universiti universitas sains kebangsaan putra teknologi utara antarabangsa teknikal perguruan pendidikan terbuka "
    "islam katolik pertahanan komputer kristen".split()
)
#: US states whose "University of X" is a system: the town after it names the campus ("… of California Los Angeles").
_SYSTEMS = frozenset(
    "alabama,alaska,arkansas,california,colorado,hawaii,illinois,maryland,massachusetts,michigan,minnesota,missouri,"
    "nebraska,north carolina,tennessee,texas,wisconsin".split(",")
)


def belongs_to_name(before: Sequence[str], place_kind: str, region_key: str | None) -> bool:
    """The keys of the words before a place in, its kind and region's key; whether it belongs to their name out."""
    if not before:
        return False
    last = before[-1]
    if last in _LINKS or last in _PREFIXES or last in _HEADS:
        return True
    if place_kind == "country" and last in _MALAY_ADJECTIVES and _has_malay_head(before):
        return True
    tail = " ".join(before[-8:])
    if any(tail == phrase or tail.endswith(" " + phrase) for phrase in _PHRASES):
        return True
    if place_kind == "city" and region_key is not None and _is_system(tail, region_key):
        return True
    return last in _KINDS and place_kind != "region" and _is_generic(before)


def _has_malay_head(before: Sequence[str]) -> bool:
    return any(word in {"universiti", "universitas"} for word in before[-4:])


def _is_system(tail: str, region_key: str) -> bool:
    return region_key in _SYSTEMS and tail.endswith(f"university of {region_key}")


def _is_generic(before: Sequence[str]) -> bool:
    """Whether the name that ends here has no word of its own: only kinds and adjectives, then a unit or nothing."""
    position = len(before) - 1
    while position >= 0 and before[position] in _GENERIC:
        position -= 1
    if position < 0:
        return True
    word = before[position]
    return word in {"and", "und", "et", "y"} or word.endswith(_DISCIPLINES)
