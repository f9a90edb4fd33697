"""Sentences of our own whose scores every bundle states, so that a server can check itself at start.

They cover each label, plain text, non-ASCII scripts, emoji, invisible characters and a text that is cut.
"""

PROBES: tuple[str, ...] = (
    "Thank you for the clear explanation.",
    "You are disgusting.",
    "I moved the section on rivers to the end of the article, where it reads better.",
    "You stupid idiot, nobody wants you here.",
    "I will find out where you live and kill you.",
    "What the fuck is this shit?",
    "People of your religion are vermin and should be thrown out.",
    "As a gay man I am happy with how this page treats the subject.",
    "This argument is weak, and the source does not say what you claim.",
    "SHUT UP!!! SHUT UP!!! SHUT UP!!!",
    "Gracias por la ayuda, muy amable.",
    "Спасибо, теперь всё понятно.",
    "😀👍 great work",
    "y\u200bo\u200bu a\u00adre a f\u200bool",
    "ok",
    "The meeting notes are long. " * 120,
)
