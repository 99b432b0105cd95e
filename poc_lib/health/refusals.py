"""Does the answer decline to describe, in English?"""

import re

PHRASES = (
    r"(?:i(?:'| a)m )?(?:very |so )?sorry\b.{0,40}\b(?:can(?:no|')t|unable|not able|don't)",
    r"i(?: apologi[sz]e| regret)\b.{0,60}\b(?:can(?:no|')t|unable|not able)",
    r"i (?:can(?:no|')t|can not|won't|am unable to|am not able to) "
    r"(?:assist|help|comply|fulfil|provide|answer|describe|view|see|access|analy[sz]e|process|identify)",
    r"i'm (?:unable|not able) to ",
    r"as an ai\b",
    r"(?:there is |i see |i don't see (?:an?|any) |no )"
    r"(?:no )?(?:image|screenshot) "
    r"(?:was |is |has been |that has been )?"
    r"(?:provided|attached|uploaded|included|visible|to (?:describe|view))",
    r"i don't (?:see|have access to) (?:an?|any|the) (?:image|screenshot)",
    r"please (?:provide|upload|attach|share) (?:an?|the) (?:image|screenshot)",
)
_REFUSAL = re.compile(r"(?:[\w ,!]{0,20}[,.!] )?(?:" + "|".join(PHRASES) + ")", re.IGNORECASE)
_LABEL = re.compile(r"^[\W_]*(?:description\s*[:：]\s*)?[\W_]*", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Whether the text begins with a refusal: only there, since a screenshot may show one further on."""
    plain = " ".join(_LABEL.sub("", text).replace("’", "'").split())
    return bool(_REFUSAL.match(plain))
