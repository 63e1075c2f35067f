"""What the tests of the web pages look at again and again."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, Request, Route, expect

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}

_INK = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0;
  for (let at = 3; at < pixels.length; at += 4) drawn += pixels[at] > 0;
  return drawn;
}"""


def wait_for_state(page: Page, state: str, seconds: float = 60.0) -> None:
    """Wait until the page of a job says so, by itself."""
    expect(page.locator("#live .state")).to_have_text(state, timeout=seconds * 1000)


def ink(page: Page, box: str) -> int:
    """Pixels that are drawn in the plot ``box``."""
    canvas = page.locator(f"{box} canvas").first
    canvas.wait_for(state="attached")
    drawn: int = canvas.evaluate(_INK)
    return drawn


def assert_fits(page: Page) -> None:
    """Nothing is wider than the screen, and what is touched is large enough to be hit."""
    width, screen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= screen
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, .button, nav a, select, input:not([type=hidden])')]
        .filter(one => one.checkVisibility())
        .map(one => [one.closest('label') ?? one, one])
        .filter(([target]) => target.getBoundingClientRect().height < 40)
        .map(([, one]) => one.outerHTML.slice(0, 120))"""
    )
    assert small == []


class Watch:
    """What a page does that it should not."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.expected: list[str] = []

    def expect(self, text: str) -> None:
        """Complaints with this text are meant to happen."""
        self.expected.append(text)

    def attach(self, context: BrowserContext) -> None:
        """Listen to all pages of a context, and let nothing out of this machine."""

        def guard(route: Route, request: Request) -> None:
            if request.url.startswith((self.url, "data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(request.url)
                route.abort()

        context.route("**/*", guard)
        context.on("console", lambda message: self._heard(message.type, message.text))
        context.on("weberror", lambda error: self._heard("error", str(error.error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def check(self) -> None:
        """Nothing was asked of another host, and nothing went wrong in the browser."""
        assert self.foreign == []
        left = [text for text in self.complaints if not any(known in text for known in self.expected)]
        assert left == []
