"""A server of another make as a process on a loopback port: started, stopped, killed, stalled."""

import atexit
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

GUARD_SECONDS = 120
PORTS_TO_TRY = 20
PR_SET_PDEATHSIG = 1


def killed_with_parent() -> None:
    """A stalled process would sit through SIGTERM, and so outlive a test run that was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ended(Exception):
    """The process ended by itself, as it does at its start when somebody else has its port."""


class ServerProcess:
    """A running server. A context manager: leaving it ends the process.

    A subclass says how it is started (`command`) and when it is ready (`is_ready`). Its port stays
    the same over `restart`. It runs on the cores of the thread that starts it.
    """

    ends_with_parent = staticmethod(killed_with_parent)

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix=f"{type(self).__name__.lower()}-")
        self.log_path = self.path / "log"
        atexit.register(self.stop)
        for attempt in range(PORTS_TO_TRY):
            self.port = free_port()
            try:
                self.start()
                return
            except Ended:
                # Between asking for a free port and using it, it may have become somebody's.
                if attempt == PORTS_TO_TRY - 1 or "in use" not in self.log():
                    self.stop()
                    raise

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def command(self) -> list[str | os.PathLike]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def is_ready(self) -> bool:
        raise NotImplementedError

    @property
    def path(self) -> pathlib.Path:
        """A folder of its own, which is gone when it has stopped."""
        return pathlib.Path(self.folder.name)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.path,
                env=self.environment(), preexec_fn=self.ends_with_parent)
        self.wait_until(self.is_ready, "it to be ready")

    def wait_until(self, holds, what: str) -> None:
        """Polls; the limit is a guard against hanging, never what a test is about."""
        deadline = time.monotonic() + GUARD_SECONDS
        while not holds():
            name, log = self.process.args[0], self.log()[-6000:]
            if self.process.poll() is not None:
                raise Ended(f"waiting for {what}, but {name} ended; its log:\n{log}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waiting for {what}, but {name} runs; its log:\n{log}")
            time.sleep(0.01)

    def accepts(self) -> bool:
        """Whether it is this process that takes connections on the port, not another one."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=GUARD_SECONDS).close()
        except OSError:
            return False
        return self.process.poll() is None

    def kill(self) -> None:
        """As a crash would: at once, nothing said, nothing saved. Its port is refused then."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """On the same port, after it was killed or while it runs."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """It still has its connections, takes new ones even, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        # The signal reaches one thread, which stops the others: some still run meanwhile.
        self.wait_until(self.is_stopped, "all of its threads to stop")

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def is_stopped(self) -> bool:
        try:
            return all(stat.read_text().rpartition(") ")[2].startswith("T")
                       for stat in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat"))
        except (FileNotFoundError, ProcessLookupError):
            return False  # A thread has just ended: it was not stopped.

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if hasattr(self, "process"):
            self.kill()
        self.folder.cleanup()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
