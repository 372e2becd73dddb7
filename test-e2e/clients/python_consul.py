"""Calls each method of Debian's python3-consul (0.7) on the agent at argv[1] and prints a line of JSON for each."""

import json
import sys
import time
import urllib.request

import consul

PORT, NODE = int(sys.argv[1]), sys.argv[2]
c = consul.Consul(host="127.0.0.1", port=PORT)
called = set()


def say(name, value):
    print(json.dumps([name, value], default=lambda v: v.decode("latin1") if isinstance(v, bytes) else repr(v)))


def call(label, *args, **kwargs):
    """Prints what the method gives, or the error it raises, and returns the former."""
    name = label.split(" ")[0]
    called.add(name)
    method = c
    for part in name.split("."):
        method = getattr(method, part)
    try:
        value = method(*args, **kwargs)
    except Exception as error:  # noqa: BLE001: the error is the result
        say(label, {"error": type(error).__name__, "text": str(error)})
        return None
    # Reads give (index, value): the index is only told to be there.
    if isinstance(value, tuple):
        say(label, {"index": value[0] is not None and int(value[0]) > 0, "value": value[1]})
        return value[1]
    say(label, value)
    return value


def names(label, key, call_it):
    """The same where the answer has more than two servers can have in common."""
    called.add(label.split(" ")[0])
    value = call_it()
    rows = value[1] if isinstance(value, tuple) else value
    say(label, sorted(row[key] if key else row for row in rows))


def until(what, is_true):
    for _ in range(200):
        if is_true():
            return
        time.sleep(0.05)
    say("never", what)


call("status.leader")
call("status.peers")
call("kv.put", "a/b", "hello")
call("kv.put flags", "a/c", "x", flags=42)
call("kv.put bytes", "a/bin", b"\x00\xff")
call("kv.get", "a/b")
call("kv.get recurse", "a/", recurse=True)
call("kv.get keys", "a", keys=True, separator="/")
call("kv.get none", "none")
call("kv.get consistent", "a/b", consistency="consistent")
call("kv.put cas", "a/b", "x", cas=1)
index, _ = c.kv.get("a/b")
start = time.time()
call("kv.get blocking", "a/b", index=index, wait="100ms")
say("kv.get waited", time.time() - start >= 0.1)
session = call("session.create", name="s", ttl=60, lock_delay=0, behavior="delete")
call("kv.put acquire", "lock", "1", acquire=session)
call("kv.put acquire again", "lock", "1", acquire=session)
call("kv.put release", "lock", "1", release=session)
call("session.info", session)
call("session.node", NODE)
call("session.list")
call("session.renew", session)
call("session.renew none", "00000000-0000-4000-8000-000000000000")
call("session.destroy", session)
call("session.info gone", session)
call("kv.delete cas", "a/b", cas=1)
call("kv.delete", "a/b")
call("kv.delete recurse", "a/", recurse=True)

call("agent.service.register", "py", service_id="py-1", port=1, tags=["t"], check=consul.Check.ttl("60s"))
call("agent.service.register http", "far", check=consul.Check.http("http://127.0.0.1:1/", "60s", timeout="1s"))
call("agent.service.register tcp", "tcp", check=consul.Check.tcp("127.0.0.1", 1, "60s", timeout="1s"))
call("agent.services")
call("agent.check.register", "own", check=consul.Check.ttl("60s"), notes="n")
call("agent.check.ttl_warn", "own", notes="hm")
call("agent.check.ttl_fail", "own")
call("agent.check.ttl_pass", "own")
call("agent.check.ttl_pass service", "service:py-1")
call("agent.check.ttl_pass none", "none")
# This client asks with GET, which Consul refuses as well since 1.0.
for check in ["own", "service:py-1"]:
    url = "http://127.0.0.1:%d/v1/agent/check/pass/%s" % (PORT, check)
    urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
names("agent.checks", None, c.agent.checks)
passing = lambda: len(c.health.service("py", passing=True)[1])  # noqa: E731
until("py is passing", lambda: passing() == 1)
call("agent.service.maintenance", "py-1", True, reason="r")
until("py is in maintenance", lambda: passing() == 0)
call("health.checks", "py")
call("agent.service.maintenance off", "py-1", False)
call("agent.maintenance", True, "r")
until("the node is in maintenance", lambda: passing() == 0)
call("agent.maintenance off", False)
until("py is back", lambda: passing() == 1)
names("agent.members", "Name", c.agent.members)
called.add("agent.self")
say("agent.self", c.agent.self()["Config"]["NodeName"])
called.add("agent.join")
try:
    c.agent.join("127.0.0.1:1")
except consul.ConsulException as error:
    say("agent.join", "500" in str(error) or type(error).__name__)
call("agent.force_leave", "nobody")

call("catalog.register", "ext", "10.0.0.9", service={"Service": "ext", "Port": 1, "Tags": ["t"]})
call("catalog.register check", "ext", "10.0.0.9", check={"Name": "c", "CheckID": "c", "Status": "critical"})
call("catalog.datacenters")
names("catalog.nodes", "Node", c.catalog.nodes)
names("catalog.nodes near", "Node", lambda: c.catalog.nodes(near="ext"))
names("catalog.services", None, c.catalog.services)
call("catalog.node", "ext")
call("catalog.node none", "nobody")
call("catalog.service", "ext")
call("catalog.service tag", "ext", tag="no")
call("health.service", "ext")
call("health.state", "critical")
call("health.node", "ext")
call("catalog.deregister", "ext", check_id="c")
call("catalog.deregister node", "ext")

query = call("query.create", "py", name="q", onlypassing=True, ttl="3s") or {"ID": "none"}
call("query.get", query["ID"])
call("query.list")
names("query.execute", "Address", lambda: [row["Node"] for row in c.query.execute("q")["Nodes"]])
call("query.explain", "q")
call("query.update", query["ID"], service="py", name="q2")
call("query.delete", query["ID"])

call("event.fire", "deploy", body="1.2.3")
call("event.fire filtered", "deploy", node="^nobody$")
until("the event is listed", lambda: len(c.event.list("deploy")[1]) == 1)
names("event.list", "Payload", lambda: c.event.list("deploy"))
called.add("coordinate.nodes")
say("coordinate.nodes", isinstance(c.coordinate.nodes()[1], list))
names("coordinate.datacenters", "Datacenter", c.coordinate.datacenters)
called.add("operator.raft_config")
say("operator.raft_config", [s["Leader"] for s in c.operator.raft_config()["Servers"]])
for name in ["list", "create"]:
    call("acl." + name)
for name in ["info", "update", "clone", "destroy"]:
    call("acl." + name, "00000000-0000-4000-8000-000000000000")
call("agent.check.deregister", "own")
for service in ["py-1", "far", "tcp", "nothing"]:
    call("agent.service.deregister " + service, service)


def methods(value, path):
    for name in dir(value):
        if name.startswith("_") or name in ("agent", "service", "check") and path == name:
            continue
        member = getattr(value, name)
        if callable(member) and not isinstance(member, type):
            yield path + "." + name
        elif path == "agent" and name in ("service", "check"):
            yield from methods(member, path + "." + name)


groups = ["event", "kv", "agent", "catalog", "health", "session", "acl", "status", "query", "coordinate", "operator"]
every = {name for group in groups for name in methods(getattr(c, group), group)}
say("not called", sorted(every - called))
