"""The page `/docs/errors.html`: a paragraph for every code, where `docs` of an error leads."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Final

from api.http.kinds import FAULTS
from api.http.problems import CODES
from engine.kernel.refusals import REFUSALS

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Errors</title>
<style>
body {{ font: 1rem/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ margin: 2rem 0 0.2rem }}
:target {{ background: #ffd }}
li {{ color: #555 }}
</style>
<h1>Errors</h1>
<p>An error has a <code>code</code> for programs and a <code>detail</code> for people.
<a href="/docs">The API</a> says which operation answers which.</p>
{codes}
<h1>Codes in <code>params</code></h1>
<ul>
{faults}
</ul>
</html>
"""


@cache
def error_page() -> bytes:
    """HTML with every code, its status, meaning, and forms of `detail`."""
    codes = "\n".join(_paragraph(code) for code in CODES)
    faults = "\n".join(
        f'<li id="param-{code}"><code>{code}</code>: the value {_html(text)}'
        for code, text in FAULTS.items()
    )
    return _PAGE.format(codes=codes, faults=faults).encode()


def _paragraph(code: str) -> str:
    known = CODES[code]
    again = f", <code>Retry-After: {known.retry_after_s}</code>" if known.retry_after_s else ""
    details = REFUSALS[code].details if code in REFUSALS else ()
    cases = "".join(f"<li>{_html(one)}" for one in details)
    return (
        f'<h2 id="{code}"><code>{code}</code></h2>\n<p>{known.status}{again}. {_html(known.detail)}</p>'
        + (f"<ul>{cases}</ul>" if cases else "")
    )


def _html(text: str) -> str:
    """The text escaped, with backticks as code."""
    words = escape(text, quote=False).split("`")
    return "".join(f"<code>{word}</code>" if n % 2 else word for n, word in enumerate(words))
