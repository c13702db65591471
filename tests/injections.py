"""A hundred texts that would run, fetch, or break out of where they stand, if somebody forgot to
escape them."""

from __future__ import annotations

RUN = "window.pwned=(window.pwned||0)+1"
_HTML = (
    "<script>{run}</script>",
    "<img src=x onerror={run}>",
    "<svg onload={run}>",
    "<svg><script>{run}</script></svg>",
    "<body onload={run}>",
    "<iframe srcdoc='<script>parent.{run}</script>'></iframe>",
    "<details open ontoggle={run}>",
    "<input autofocus onfocus={run}>",
    "<video><source onerror={run}></video>",
    "<a href='javascript:{run}'>x</a>",
    "<math><mtext><img src=x onerror={run}></mtext></math>",
    "<style>*{{background:url(//evil.test)}}</style>",
    "<link rel=stylesheet href=//evil.test/x.css>",
    "<base href=//evil.test/>",
    "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "<form action=//evil.test><button>go</button></form>",
    "<object data=//evil.test></object>",
    "<template><script>{run}</script></template>",
    "<div hx-get=/logout hx-trigger=load></div>",
    "<div hx-on:click={run} hx-on::load={run} data-hx-on='load: {run}'></div>",
)
_AROUND = ("{}", '">{}', "'>{}", "</textarea></title></script></pre></svg>{}")
_MARKDOWN = (
    "[x](javascript:{run})",
    "[x](JaVaScRiPt:{run})",
    "[x](data:text/html,<script>{run}</script>)",
    "[x](vbscript:{run})",
    '![x](x" onerror="{run})',
    "![x](//evil.test/pixel.png)",
    "<javascript:{run}>",
    "[x]: javascript:{run}\n[x]",
    "[x](&#106;avascript:{run})",
    "`</code><script>{run}</script>`",
)
_OTHER = (
    "{{{{ 7*7 }}}}{{% raw %}}",
    "${{{run}}}",
    "]]><script>{run}</script>",
    "\u202e\u0000<scr\u0000ipt>{run}</script>",
    "\r\n\r\n<script>{run}</script>",
    "'; DROP TABLE votes; --",
    "../../etc/passwd\\..\\..",
    "%3Cscript%3E{run}%3C/script%3E",
    "</tr></table><script>{run}</script>",
    '{{"rows": "</script><script>{run}</script>"}}',
)

TEXTS = tuple(
    text.format(run=RUN)
    for text in (
        *(around.replace("{}", html) for around in _AROUND for html in _HTML),
        *_MARKDOWN,
        *_OTHER,
    )
)
"""All are different."""
