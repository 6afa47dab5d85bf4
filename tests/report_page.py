"""A report's page as a reader meets it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a page links to, shows and says."""

    def __init__(self, text):
        super().__init__()
        self.links, self.alts, self.tags, self.words = [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action"):
                self.links.append(value)
            if name == "alt":
                self.alts.append(value)

    def handle_data(self, data):
        self.words.append(data)
