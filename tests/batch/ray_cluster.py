"""A Ray cluster of two machines with a core each, on this one: a program of its own, for Ray starts threads.

Prints its address and that for Ray's client; reads lines: `add` adds a machine that has a GPU by its own word, `drop`
takes the last machine away, as a power cut does; the end of the input ends the cluster.
"""

import socket
import sys

from ray.cluster_utils import Cluster


def main() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "ray_client_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=1, num_gpus=0)]
        print(cluster.address, f"ray://127.0.0.1:{port}", flush=True)
        for line in sys.stdin:
            if line.strip() == "add":
                nodes.append(cluster.add_node(num_cpus=1, num_gpus=1))
            else:
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("done", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
