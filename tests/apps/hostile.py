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
DIRECTIVES = "| a | b |\n|---|---|\n| $$x^2$$ | :red-background[x] :small[y] :material/delete: :streamlit: <br> |"
ENTITIES = "&lt;script&gt; &#60;b&#62; &amp;nbsp; %3Cscript%3E \\u003cscript\\u003e"
ADDRESSES = "data:text/html,<h1>x</h1> javascript:alert(2) file:///etc/passwd <http://evil.invalid>"
ANOTHER_CELL = "\t=1+1;=2+2\n@SUM(1)\r+3"
SEPARATORS = "one\u2028two\u2029three"
TAGS = "seen" + "".join(chr(0xE0000 + ord(letter)) for letter in "hidden")

HOSTILE = (
    SCRIPT,
    MARKDOWN,
    FORMULA,
    OVERRIDE,
    NUL,
    EMOJI,
    MARKS,
    DIRECTIVES,
    ENTITIES,
    ADDRESSES,
    ANOTHER_CELL,
    SEPARATORS,
    TAGS,
)
