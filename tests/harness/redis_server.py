"""Runs redis-server, alone or as a cluster, with a client to look into it."""

import subprocess
import time

import redis

from harness import debian
from harness.server_process import GUARD_SECONDS, ServerProcess, free_port


class Redis(ServerProcess):
    """A Redis that keeps nothing on disk. `settings` are those of redis.conf, with underscores:

        Redis(maxmemory="8mb", maxmemory_policy="allkeys-lru")
    """

    def __init__(self, **settings: str | int) -> None:
        self.settings = settings
        self.binary = debian.find("redis-server")
        super().__init__()

    def command(self) -> list:
        given = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.path,
                 **self.settings}
        words = [self.binary]
        for name, value in given.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def environment(self) -> dict[str, str]:
        return debian.environment(self.binary)

    def is_ready(self) -> bool:
        try:
            # Whoever else may answer on this port, it does not run in this folder.
            return (self.client.config_get("dir")["dir"] == str(self.path)
                    and self.process.poll() is None)
        except redis.exceptions.BusyLoadingError:
            return False
        except redis.exceptions.ConnectionError:
            return False

    @property
    def client(self) -> redis.Redis:
        """A new client on a new connection, whose keys and values are bytes."""
        return redis.Redis(port=self.port, socket_timeout=GUARD_SECONDS,
                           password=self.settings.get("requirepass"))

    def stored_keys(self) -> list[bytes]:
        return sorted(self.client.keys())

    def set_all(self, value: bytes) -> int:
        """Puts `value` under every key, keeping lifetimes; says how many keys there were."""
        with self.client as client:
            keys = client.keys()
            for key in keys:
                client.set(key, value, keepttl=True)
        return len(keys)


class RedisCluster:
    """Three masters with a replica each on loopback: one node may be lost, whichever it is.

    Three nodes without replicas would be a cluster as well, and the loss of one would take a third
    of the keys with it until it is back.
    """

    MASTERS = 3

    def __init__(self, replicas: int = 1) -> None:
        self.nodes: list[Redis] = []
        try:
            for _ in range(self.MASTERS * (1 + replicas)):
                self.nodes.append(Redis(
                    cluster_enabled="yes", cluster_config_file="nodes.conf",
                    # A lost master is replaced after this, and is refused its keys until then.
                    cluster_node_timeout=1000, cluster_port=free_port(),
                    cluster_require_full_coverage="no", cluster_replica_validity_factor=0,
                    repl_diskless_sync_delay=0,
                    repl_ping_replica_period=1))
            binary = debian.find("redis-cli")
            ran = subprocess.run(
                [binary, "--cluster", "create", *(node.address for node in self.nodes),
                 "--cluster-replicas", str(replicas), "--cluster-yes"],
                env=debian.environment(binary), capture_output=True, text=True,
                check=False, timeout=GUARD_SECONDS)
            if ran.returncode != 0:
                raise AssertionError(f"no cluster: {ran.stdout[-3000:]}{ran.stderr[-3000:]}")
            self.wait_until(lambda: all(self.is_whole(node, replicas) for node in self.nodes),
                            "every node to know the others, and every replica its master")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "RedisCluster":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def masters(self) -> list[Redis]:
        return [node for node in self.nodes if node.process.poll() is None
                and node.client.info("replication")["role"] == "master"]

    def stored_keys(self) -> list[bytes]:
        return sorted(key for node in self.masters() for key in node.stored_keys())

    def master_of(self, key: bytes) -> Redis:
        return next(node for node in self.masters() if key in node.stored_keys())

    def lose(self, node: Redis) -> None:
        """Kills a node, and waits until the others serve all of the keys again."""
        left = [other for other in self.nodes if other is not node]
        node.kill()
        self.wait_until(
            lambda: len(self.masters()) == self.MASTERS
            and all(self.state(other)["cluster_state"] == "ok" for other in left),
            "a replica to take the place of the lost node")

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    @staticmethod
    def state(node: Redis) -> dict[str, str]:
        return node.client.cluster("info")

    def is_whole(self, node: Redis, replicas: int) -> bool:
        state = self.state(node)
        copied = node.client.info("replication")
        return (state["cluster_state"] == "ok"
                and int(state["cluster_known_nodes"]) == len(self.nodes)
                and (copied.get("master_link_status") == "up" if copied["role"] == "slave"
                     else copied["connected_slaves"] == replicas))

    @staticmethod
    def wait_until(holds, what: str) -> None:
        """Polls; the limit is a guard against hanging, never what a test is about."""
        deadline = time.monotonic() + GUARD_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"the cluster waited in vain for {what}")
            time.sleep(0.05)
