"""Comments that try to be something else than text on a page."""

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
MARKDOWN = (
    "# big **bold** [link](javascript:alert(1)) ![pixel](http://evil.invalid/p.png) :red[red] $x^2$ :material/home:"
)
FORMULA = '=HYPERLINK("http://evil.invalid","click")'
OVERRIDE = "abc \u202egnp.exe\u202c def"
NUL = "before\x00after"
EMOJI = "👩‍👩‍👧‍👦 🏳️‍🌈 ❤️"
MARKS = "Z" + "\u0351" * 200

HOSTILE = (SCRIPT, MARKDOWN, FORMULA, OVERRIDE, NUL, EMOJI, MARKS)
