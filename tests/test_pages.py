"""`ui --cluster`: pages of a head on this machine, through SSH, and again where the way is lost."""

from __future__ import annotations

import http.server
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from studies import pages, tunnel
from studies.head import Head
from studies.tunnel import Way, forwarded, free_port
from tests import ssh_here

pytestmark = [pytest.mark.skipif(bool(ssh_here.why_not()), reason=ssh_here.why_not()), pytest.mark.slow]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    return ssh_here.head_here(tmp_path_factory.mktemp("ssh"))


@contextmanager
def server(address: str, text: str) -> Iterator[int]:
    """A page of this machine; yields its port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words: object) -> None:
            pass

    one = http.server.ThreadingHTTPServer((address, 0), Page)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one.server_address[1]
    one.shutdown()
    one.server_close()


def read(port: int, timeout_s: float = 120.0) -> str:
    """What a page says, as soon as it answers."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at {port}")


def grown(ways: list[Way], num: int) -> None:
    """Wait until there are so many; a page may answer a moment before its way is noted."""
    deadline_s = time.monotonic() + 120
    while len(ways) < num:
        assert time.monotonic() < deadline_s, "the ways must be made"
        time.sleep(0.1)


def test_both_pages_are_at_ports_of_this_machine_and_come_back(
    head: Head, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow's is at the head's own address, the dashboard at its loopback."""
    monkeypatch.setattr(pages, "TRY_EVERY_S", 0.1)
    monkeypatch.setattr(tunnel, "OPENS_IN_S", 120.0)
    monkeypatch.setattr(pages, "ADDRESS", "echo 127.0.0.2 127.0.0.3")
    with server("127.0.0.2", "MLflow") as tracking, server("127.0.0.1", "Ray") as dashboard:
        monkeypatch.setattr(pages, "TRACKING", tracking)
        monkeypatch.setattr(pages, "DASHBOARD", dashboard)
        here = {tracking: free_port(), dashboard: free_port()}
        ways: list[Way] = []

        @contextmanager
        def opened(of: Head, host: str, port: int, at: int) -> Iterator[Way]:
            if len(ways) == 2:
                ways.append(ways[0])
                raise ValueError("The head must be reached by SSH, but a first attempt fails.")
            with forwarded(of, host, port, at) as way:
                ways.append(way)
                yield way

        def reached() -> Head:
            if len(ways) == 5:
                raise KeyboardInterrupt
            return head

        ended = threading.Event()

        def hold() -> None:
            with suppress(KeyboardInterrupt):
                pages.keep(reached, here, "they are there", opened)
            ended.set()

        threading.Thread(target=hold, daemon=True).start()
        assert (read(here[tracking]), read(here[dashboard])) == ("MLflow", "Ray")
        grown(ways, 2)
        ways[1].process.kill()
        grown(ways, 5)
        assert (read(here[tracking]), read(here[dashboard])) == ("MLflow", "Ray")
        ways[4].process.kill()
        assert ended.wait(120), "Ctrl-C ends it"
    said = capsys.readouterr()
    assert said.out.splitlines() == ["they are there", "The pages are there again."]
    assert said.err.count("The way to the head is lost") == 2


def test_a_head_that_lets_nobody_in_ends_it_at_first(head: Head) -> None:
    stranger = Head(Path("mine.yaml"), head.address, head.user, str(Path(str(head.key)).with_name("host")), head.proxy)
    with pytest.raises(ValueError, match=r"The head of mine.yaml must answer .*Permission denied"):
        pages.keep(lambda: stranger, {}, "")


def test_a_head_s_command_is_answered_and_one_that_fails_says_so(head: Head) -> None:
    assert head.says("echo so it is").strip() == "so it is"
    with pytest.raises(ValueError, match=r"must answer `ls /nowhere` by SSH, but ls: .*No such file"):
        head.says("ls /nowhere")


def test_a_port_that_is_taken_is_not_given_again() -> None:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        taken = ours.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken
