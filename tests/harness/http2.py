"""An HTTP/2 client with prior knowledge over a bare socket: many streams at once, trailers."""

import dataclasses

import h2.config
import h2.connection
import h2.events
import h2.settings

from harness.http1 import Connection, encoded
from harness.http2_frames import WithoutGoAway

# Room for an answer of any size here, so that no test has to do with flow control.
WINDOW = 1 << 26


@dataclasses.dataclass
class Stream:
    status: int = 0
    headers: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    ending: str = ""  # whole | reset | cut | refused

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        return ", ".join(value.decode("latin-1") for value in found) if found else None

    @property
    def cache(self) -> str | None:
        return self.header("x-cache")


class Http2Connection(Connection):
    def __init__(self, port: int):
        super().__init__(port)
        self.incoming = WithoutGoAway()
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self.h2.increment_flow_control_window(WINDOW)
        self.flush()
        self.streams: dict[int, Stream] = {}

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def start(self, body, path: str = "/v1/chat/completions", headers: dict | None = None,
              standin: str = "", trailers: dict | None = None, method: str = "POST") -> int:
        """Sends a request; returns its stream's id."""
        fields = {} if body is None else {"content-type": "application/json"}
        if standin:
            fields["x-stainless-standin"] = standin
        stream_id = self.begin(method, path, {**fields, **(headers or {})}, end=body is None)
        if body is not None:
            self.add_data(stream_id, encoded(body), end=not trailers)
        if trailers:
            self.h2.send_headers(stream_id, list(trailers.items()), end_stream=True)
        self.flush()
        return stream_id

    def open(self, path: str, headers: dict, method: str = "POST") -> int:
        """Sends a request's headers; its body is still to be sent. Returns its stream's id."""
        stream_id = self.begin(method, path, headers, end=False)
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, end: bool = False) -> None:
        """Sends more of the body of a request that is open."""
        self.add_data(stream_id, data, end)
        self.flush()

    def begin(self, method: str, path: str, headers: dict, end: bool) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        fields = {":method": method, ":scheme": "http", ":path": path, ":authority": "llm.test",
                  "authorization": "Bearer test-key", **headers}
        self.streams[stream_id] = Stream()
        self.h2.send_headers(
            stream_id,
            [(name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
             for name, value in fields.items()],
            end_stream=end)
        return stream_id

    def add_data(self, stream_id: int, data: bytes, end: bool) -> None:
        while data:
            room = min(self.h2.local_flow_control_window(stream_id),
                       self.h2.max_outbound_frame_size, len(data))
            if room == 0:
                self.flush()
                self.read_events()
                continue
            self.h2.send_data(stream_id, data[:room])
            data = data[room:]
        if end:
            self.h2.end_stream(stream_id)

    def read_events(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            for stream in self.streams.values():
                stream.ending = stream.ending or "cut"
            return
        for event in self.h2.receive_data(self.incoming.whole_frames(data)):
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if stream is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                fields = [(name.decode(), value) for name, value in event.headers]
                stream.status = int(dict(fields)[":status"])
                stream.headers = [field for field in fields if field[0] != ":status"]
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                stream.trailers = [(name.decode(), value) for name, value in event.headers]
            elif isinstance(event, h2.events.StreamEnded):
                stream.ending = "whole"
            elif isinstance(event, h2.events.StreamReset):
                stream.ending = "reset"
        for stream_id, stream in self.streams.items():
            if stream_id > self.incoming.last_stream:
                stream.ending = stream.ending or "refused"
        self.flush()

    def finish(self, stream_id: int) -> Stream:
        stream = self.streams[stream_id]
        while not stream.ending:
            self.read_events()
        return stream

    def ask(self, body, **named) -> Stream:
        return self.finish(self.start(body, **named))

    def reset_stream(self, stream_id: int) -> None:
        self.h2.reset_stream(stream_id)
        self.flush()
