"""A desktop that nobody sees: a virtual screen, a session bus and a window manager, all of one user."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageGrab

from tests.filemanagers.person import Person
from tests.scratch import wait_until

WIDTH, HEIGHT = 1280, 900
_STATUS_LINE = 36
"""Pixels."""
_STILL = 3.0
"""Seconds without a change after which a window is at rest. Thumbnailers take a second to be started."""
_BETWEEN_LOOKS = 0.4
_LONGEST = 90.0
"""Seconds for a window to come up, and to be at rest."""

_SETTINGS = {
    ".config/openbox/rc.xml": """<?xml version="1.0"?>
<openbox_config xmlns="http://openbox.org/3.4/rc">
  <applications>
    <application class="*" type="normal"><maximized>yes</maximized><decor>no</decor></application>
  </applications>
</openbox_config>
""",
    # Draws its own frame, and does not let itself be told by the window manager.
    ".config/glib-2.0/settings/keyfile": "[org/gnome/nautilus/window-state]\nmaximized=true\n",
}
"""Windows are as large as the screen from the first moment: one that grows while it is filled may scroll."""

_TOOLKITS = {
    "GSETTINGS_BACKEND": "keyfile",
    "GDK_BACKEND": "x11",
    "GSK_RENDERER": "cairo",
    "LIBGL_ALWAYS_SOFTWARE": "1",
    "QT_QPA_PLATFORM": "xcb",
    # Nobody listens on the accessibility bus, and every program would wait for it.
    "NO_AT_BRIDGE": "1",
    "GTK_A11Y": "none",
}


class Desktop:
    """Programs of ``person`` that open a window open it here, as large as the screen."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._processes: list[subprocess.Popen[str]] = []
        self.display = self._screen()
        person.environment |= _TOOLKITS | {"DISPLAY": self.display}
        person.environment["DBUS_SESSION_BUS_ADDRESS"] = self._bus()
        for place, text in _SETTINGS.items():
            person.write(place, text)
        self._keep("openbox")
        # In the middle of the screen it would light up whatever comes to lie under it.
        person.run("xdotool", "mousemove", str(WIDTH - 1), str(HEIGHT - 1))

    def _screen(self) -> str:
        """Start the X server; it says itself which number it has."""
        server = self._person.start(
            *("Xvfb", "-displayfd", "1", "-screen", "0", f"{WIDTH}x{HEIGHT}x24"),
            # -ac: the test looks at the screen too, and is another user.
            *("-nolisten", "tcp", "-ac", "-noreset"),
            stdout=subprocess.PIPE,
        )
        self._processes.append(server)
        assert server.stdout is not None
        number = server.stdout.readline().strip()
        assert number, "the X server did not start: see Xvfb.log"
        return f":{number}"

    def _bus(self) -> str:
        socket = Path(self._person.environment["XDG_RUNTIME_DIR"], "bus")
        self._keep("dbus-daemon", "--session", "--nofork", f"--address=unix:path={socket}")
        wait_until(socket.exists)
        return f"unix:path={socket}"

    def _keep(self, *command: str | Path) -> None:
        self._processes.append(self._person.start(*command))

    def wait_for_window(self, window_class: str) -> None:
        wait_until(lambda: self._has_window(window_class), _LONGEST)

    def wait_for_no_window(self, window_class: str) -> None:
        wait_until(lambda: not self._has_window(window_class), _LONGEST)

    def _has_window(self, window_class: str) -> bool:
        """Whether the window manager knows of one: then it is on the screen."""
        known = self._person.run("wmctrl", "-l", "-x", check=False).stdout
        return window_class in known.lower()

    def press(self, key: str) -> None:
        """As somebody at the keyboard."""
        self._person.run("xdotool", "key", key)

    def look(self) -> Image.Image:
        """The screen as it is now, without the line at the bottom.

        File managers say there how much room the disk has, which every other program changes.
        """
        screen = ImageGrab.grab(xdisplay=self.display).convert("RGB")
        return screen.crop((0, 0, WIDTH, HEIGHT - _STATUS_LINE))

    def at_rest(self, progress: Callable[[], object]) -> Image.Image:
        """Wait until neither the screen nor ``progress`` has changed for a while; the screen then."""
        deadline = time.monotonic() + _LONGEST
        shown, reached = self.look(), progress()
        changed = time.monotonic()
        while time.monotonic() - changed < _STILL:
            assert time.monotonic() < deadline, f"the window never comes to rest: {reached}"
            time.sleep(_BETWEEN_LOOKS)
            now = self.look(), progress()
            if now != (shown, reached):
                (shown, reached), changed = now, time.monotonic()
        return shown

    def close(self) -> None:
        """End it all; programs that are still open go with their screen."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.stdout is not None:
                process.stdout.close()
