"""tmp"""
import re, unicodedata
_SPECIAL=str.maketrans({"ı":"i"})
