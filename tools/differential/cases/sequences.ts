import type { Run } from "../run.ts";

type Send = Run["send"];
const READS = (service: string): string[] => [
  "/v1/catalog/nodes",
  "/v1/catalog/services",
  `/v1/catalog/service/${service}`,
  `/v1/health/service/${service}`,
  `/v1/health/checks/${service}`,
  "/v1/catalog/node/q1",
  "/v1/catalog/node/q2",
  "/v1/health/node/q1",
];

/** What a sequence of writes leaves, read after each; parts: catalog, rename, replace, maintenance, ttl, events. */
export default async function sequences({ send, want }: Run): Promise<void> {
  if (want("catalog")) await catalog(send);
  if (want("rename")) await renames(send);
  if (want("replace")) await replace(send);
  if (want("maintenance")) await maintenance(send);
  if (want("ttl")) await ttl(send);
  if (want("events")) await events(send);
}

async function after(send: Send, service: string, method: string, path: string, body?: unknown): Promise<void> {
  await send(method, path, body);
  for (const read of READS(service)) await send("GET", read);
}

const node = (Node: string, more: object = {}): object => ({ Node, Address: "10.4.4.4", ...more });
const instance = (ID: string, Service: string, more: object = {}): object => ({
  Service: { ID, Service, Port: 80, ...more },
});

/** Deregistrations in every order and form, of what is there and what is not. */
async function catalog(send: Send): Promise<void> {
  const step = (path: string, body: unknown) => after(send, "qweb", "PUT", `/v1/catalog/${path}`, body);
  const fill = async () => {
    await send("PUT", "/v1/catalog/register", node("q1", instance("w1", "qweb", { Tags: ["a"] })));
    await send("PUT", "/v1/catalog/register", node("q1", instance("w2", "qweb", { Tags: ["b"] })));
    await send("PUT", "/v1/catalog/register", node("q2", instance("w1", "qweb")));
    for (const [Node, CheckID, ServiceID] of [
      ["q1", "c1", "w1"],
      ["q1", "c2", "w2"],
      ["q1", "cn", ""],
      ["q2", "c1", "w1"],
    ])
      await send(
        "PUT",
        "/v1/catalog/register",
        node(Node as string, { Check: { CheckID, Name: CheckID, ServiceID, Status: "passing" } }),
      );
  };
  await fill();
  for (const body of [
    { Node: "q1", CheckID: "c1" },
    { Node: "q1", CheckID: "c1" },
    { Node: "Q1", CheckID: "cn" },
    { Node: "q1", ServiceID: "w1" },
    { Node: "q1", ServiceID: "w1" },
    { Node: "q1", ServiceID: "w2", CheckID: "c2" },
    { Node: "q1", ServiceID: "none" },
    { Node: "q1", CheckID: "none" },
    { Node: "none" },
    { Node: "q2", ServiceID: "W1" },
    { Node: "q2" },
    { Node: "q2" },
    { Node: "q1" },
  ])
    await step("deregister", body);
  await fill();
  for (const body of [
    node("q1", { Check: { CheckID: "c9", Name: "x", ServiceID: "none", Status: "passing" } }),
    node("q3", { Check: { Node: "q1", CheckID: "c9", Name: "x" } }),
    node("q1", { SkipNodeUpdate: true, Address: "10.9.9.9" }),
    { Node: "q1", SkipNodeUpdate: true, ...instance("w3", "qweb") },
    { Node: "new", SkipNodeUpdate: true },
    node("q1", { Address: "10.5.5.5", NodeMeta: { a: "1" } }),
    node("Q1", { Address: "10.5.5.6" }),
    node("q1", {
      Checks: [
        { CheckID: "c1", Name: "n", Status: "warning", ServiceID: "w1" },
        { CheckID: "c7", Name: "n", ServiceID: "w2" },
      ],
    }),
    node("q1", { Check: { CheckID: "c1", Name: "n2", Status: "critical", ServiceID: "w2" } }),
    node("q1", {
      ...instance("w1", "qweb", { Tags: ["z"], Port: 81 }),
      Check: { CheckID: "c1", Name: "n", ServiceID: "w1", Status: "passing" },
    }),
    node("q1", instance("", "qweb")),
    node("q1", { ...instance("m", "qmeta", { Meta: { "a b": "c" } }) }),
    node("q1", { ...instance("m", "qmeta", { Meta: { "consul-x": "c" } }) }),
    node("q1", { ...instance("m", "qmeta", { Connect: { Bogus: 1, Native: true } }) }),
  ])
    await step("register", body);
  for (const body of [{ Node: "q1" }, { Node: "q2" }, { Node: "q3" }, { Node: "Q1" }]) await step("deregister", body);
}

const ID = (n: number): string => `3333333${n}-2222-3333-4444-555555555555`;

/** Nodes and services that take another name, id or address. */
async function renames(send: Send): Promise<void> {
  for (const body of [
    node("q1", {
      ID: ID(1),
      ...instance("r1", "qold"),
      Check: { CheckID: "rc", Name: "rc", ServiceID: "r1", Status: "passing" },
    }),
    node("q1", { ID: ID(1), ...instance("r1", "qnew") }),
    node("q2", { ID: ID(1) }),
    node("q2", { ID: ID(2) }),
    node("q1", { ID: ID(2) }),
    node("Q2", { ID: ID(1) }),
    node("q2"),
    node("q1", { ID: ID(3), ...instance("r1", "QNEW") }),
    node("q2", { ID: ID(3) }),
    node("n1", { ID: ID(3) }),
    node("q4", { ID: ID(4) }),
    node("q1", { ID: ID(4) }),
    node("q5", { ID: ID(4).toUpperCase() }),
  ])
    await after(send, "qnew", "PUT", "/v1/catalog/register", body);
  for (const Node of ["q1", "q2", "Q2", "q4", "q5"])
    await after(send, "qnew", "PUT", "/v1/catalog/deregister", { Node });
}

/** Services registered again with other checks, with and without `replace-existing-checks`. */
async function replace(send: Send): Promise<void> {
  const reads = [
    "/v1/agent/services",
    "/v1/agent/checks",
    "/v1/agent/health/service/id/rep",
    "/v1/health/checks/rep",
    "/v1/agent/service/rep",
  ];
  const bodies = [
    { Check: { TTL: "10m" } },
    { Checks: [{ TTL: "10m" }, { CheckID: "own", TTL: "20m", Status: "passing" }] },
    { Check: { CheckID: "own", TTL: "30m" } },
    {},
    { Check: { TTL: "10m", Status: "passing" } },
    { Name: "rep2", Check: { TTL: "10m" } },
    { Connect: { SidecarService: {} } },
    { Connect: { SidecarService: { Checks: [] } } },
    {},
  ];
  for (const query of [
    "",
    "?replace-existing-checks",
    "?replace-existing-checks=true",
    "?replace-existing-checks=false",
    "",
  ])
    for (const body of bodies) {
      await send("PUT", `/v1/agent/service/register${query}`, { ID: "rep", Name: "rep", Port: 80, ...body });
      for (const read of reads) await send("GET", read);
    }
  await send("PUT", "/v1/agent/check/register", { ID: "extra", Name: "extra", ServiceID: "rep", TTL: "10m" });
  await send("PUT", "/v1/agent/service/register?replace-existing-checks", { ID: "rep", Name: "rep" });
  for (const read of reads) await send("GET", read);
  for (const id of ["rep", "rep", "rep-sidecar-proxy", "none"]) {
    await send("PUT", `/v1/agent/service/deregister/${id}`);
    for (const read of reads) await send("GET", read);
  }
  for (const id of ["extra", "own", "none", ""]) await send("PUT", `/v1/agent/check/deregister/${id}`);
}

/** Maintenance of the node and of services, with reasons, twice, and with odd values. */
async function maintenance(send: Send): Promise<void> {
  await send("PUT", "/v1/agent/service/register", {
    ID: "mnt",
    Name: "mnt",
    Port: 80,
    Check: { TTL: "10m", Status: "passing" },
  });
  const reads = [
    "/v1/agent/checks",
    "/v1/health/service/mnt",
    "/v1/health/service/mnt?passing",
    "/v1/agent/health/service/id/mnt",
    "/v1/agent/health/service/name/mnt?format=text",
    "/v1/health/state/critical",
    "/v1/health/node/n1",
  ];
  const values = [
    "enable=true",
    "enable=true&reason=why",
    "enable=true&reason=other",
    "enable=1",
    "enable=false",
    "enable=false",
    "enable=x",
    "enable=",
    "reason=x",
    "enable=TRUE",
    "enable=t&reason=%20",
    "enable=f",
  ];
  for (const path of [
    "/v1/agent/maintenance",
    "/v1/agent/service/maintenance/mnt",
    "/v1/agent/service/maintenance/none",
    "/v1/agent/service/maintenance/",
  ])
    for (const value of values) {
      await send("PUT", `${path}?${value}`);
      for (const read of reads) await send("GET", read);
    }
  await send("PUT", "/v1/agent/service/maintenance/mnt?enable=true");
  await send("PUT", "/v1/agent/service/register", { ID: "mnt", Name: "mnt", Port: 81 });
  for (const read of reads) await send("GET", read);
  await send("PUT", "/v1/agent/service/deregister/mnt");
  for (const read of reads) await send("GET", read);
}

/** Checks told their status by each way, with notes, of services that come and go. */
async function ttl(send: Send): Promise<void> {
  await send("PUT", "/v1/agent/service/register", { ID: "tt", Name: "tt", Check: { CheckID: "tc", TTL: "10m" } });
  await send("PUT", "/v1/agent/check/register", { ID: "nt", Name: "node check", TTL: "10m", Notes: "n" });
  await send("PUT", "/v1/agent/check/register", {
    ID: "tcp",
    Name: "tcp",
    TCP: "127.0.0.1:1",
    Interval: "10m",
    Status: "passing",
  });
  const reads = ["/v1/agent/checks", "/v1/agent/health/service/id/tt", "/v1/health/checks/tt"];
  for (const id of ["tc", "nt", "tcp", "none", ""])
    for (const [call, body] of [
      ["pass", undefined],
      ["warn?note=hm", undefined],
      ["fail?note=%C3%BC&note=2", undefined],
      ["update", { Status: "passing", Output: "o" }],
      ["update", { Status: "bogus" }],
      ["update", { Status: "" }],
      ["update", {}],
      ["update", { Status: "warning", Output: "x".repeat(5000) }],
      ["update", { Status: "critical", Bogus: 1 }],
      ["pass?note=", undefined],
    ] as const) {
      const [name, query] = call.split("?");
      await send("PUT", `/v1/agent/check/${name}/${id}${query ? `?${query}` : ""}`, body);
      for (const read of reads) await send("GET", read);
    }
  for (const id of ["tt"]) await send("PUT", `/v1/agent/service/deregister/${id}`);
  for (const id of ["nt", "tcp"]) await send("PUT", `/v1/agent/check/deregister/${id}`);
}

/** Events fired with every filter and payload, and the lists after. */
async function events(send: Send): Promise<void> {
  for (const name of ["ev", "", "a b", "a/b", "%C3%BC", "x".repeat(200)])
    for (const query of [
      "",
      "?node=n1",
      "?node=(",
      "?service=web",
      "?service=web&tag=a",
      "?tag=a",
      "?node=none&service=x",
      "?dc=dc2",
      "?bogus",
    ]) {
      await send("PUT", `/v1/event/fire/${name}${query}`, "payload");
      await send("GET", `/v1/event/list?name=${name}`);
    }
  for (const body of ["", "{}", "x".repeat(101), "x".repeat(100), "ü"]) await send("PUT", "/v1/event/fire/ev2", body);
  for (const query of [
    "",
    "?name=ev",
    "?name=none",
    "?node=n1",
    "?node=(",
    "?service=web",
    "?tag=a",
    "?name=ev&node=none",
    "?index=x",
    "?dc=dc2",
    "?wait=1ms&index=1",
  ])
    await send("GET", `/v1/event/list${query}`);
}
