/** A small agent for tests: the endpoints that a proxy uses, with blocking queries, over a mesh of `@heddle/tls`. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Intention } from "@heddle/intentions";
import { NO_REVOCATIONS, type RevocationsAnswer } from "@heddle/tls";
import { createTestMesh, type TestMesh } from "@heddle/tls/testing";

export interface FakeAgent extends AsyncDisposable {
  readonly address: string;
  readonly mesh: TestMesh;
  readonly state: AgentState;
  /** Changes the state and wakes whoever waits. */
  change(apply: (state: AgentState) => void): void;
  /** Requests of each path so far. */
  readonly asked: Map<string, number>;
  readonly calls: { method: string; path: string; body: unknown }[];
  stop(): Promise<void>;
  /** On the same port again. */
  restart(): Promise<void>;
}

export interface AgentState {
  services: Record<string, unknown>;
  endpoints: Record<string, { host: string; port: number }[]>;
  intentions: Intention[];
  defaultPolicy: "allow" | "deny";
  roots: string[];
  /** Undefined: an agent that knows of no such path, as Consul's. */
  revocations: RevocationsAnswer | undefined;
  /** Signs new leaves; each change of it is a renewal. */
  signing: TestMesh;
}

export async function startFakeAgent(mesh?: TestMesh): Promise<FakeAgent> {
  const own = mesh ?? (await createTestMesh());
  const state: AgentState = {
    services: {},
    endpoints: {},
    intentions: [],
    defaultPolicy: "allow",
    roots: [own.root.certPem],
    revocations: NO_REVOCATIONS,
    signing: own,
  };
  let index = 10;
  const waiters = new Set<() => void>();
  const asked = new Map<string, number>();
  const calls: FakeAgent["calls"] = [];
  const leaves = new Map<string, { of: TestMesh; body: unknown }>();

  const answer = (path: string, query: URLSearchParams): unknown => {
    const last = decodeURIComponent(path.split("/").at(-1) ?? "");
    if (path === "/v1/agent/services") return state.services;
    if (path === "/v1/agent/self")
      return { DebugConfig: { ACLsEnabled: state.defaultPolicy === "deny", ACLDefaultPolicy: state.defaultPolicy } };
    if (path.startsWith("/v1/agent/service/")) return state.services[last];
    if (path === "/v1/agent/connect/ca/roots")
      return { TrustDomain: own.trustDomain, Roots: state.roots.map((RootCert) => ({ RootCert })) };
    if (path === "/v1/agent/connect/ca/revocations") return state.revocations;
    if (path.startsWith("/v1/agent/connect/ca/leaf/")) {
      const known = leaves.get(last);
      if (known?.of === state.signing) return known.body;
      const { certPem, keyPem } = state.signing.identity(last);
      const body = { CertPEM: certPem, PrivateKeyPEM: keyPem };
      leaves.set(last, { of: state.signing, body });
      return body;
    }
    if (path.startsWith("/v1/health/connect/"))
      return (state.endpoints[last] ?? []).map(({ host, port }, i) => ({
        Node: { Node: "n1", Address: "192.0.2.1" },
        Service: { ID: `${last}-${i}`, Address: host, Port: port },
      }));
    if (path === "/v1/connect/intentions/match") {
      const name = query.get("name") ?? "";
      return { [name]: state.intentions.filter((i) => i.DestinationName === name || i.DestinationName === "*") };
    }
    return undefined;
  };

  const handle = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const url = new URL(req.url ?? "/", "http://agent");
    asked.set(url.pathname, (asked.get(url.pathname) ?? 0) + 1);
    if (req.method === "PUT") {
      const chunks: Buffer[] = [];
      for await (const chunk of req as AsyncIterable<Buffer>) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      calls.push({ method: "PUT", path: url.pathname, body: text === "" ? undefined : JSON.parse(text) });
      return void res.end();
    }
    const dc = url.searchParams.get("dc") ?? "";
    if (dc !== "" && dc !== own.datacenter) {
      res.statusCode = 500;
      return void res.end("No path to datacenter");
    }
    const since = Number(url.searchParams.get("index") ?? url.searchParams.get("hash")?.slice(1) ?? 0);
    if (since >= index) await new Promise<void>((wake) => waiters.add(wake));
    const body = answer(url.pathname, url.searchParams);
    if (body === undefined) {
      res.statusCode = 404;
      return void res.end(`unknown service ID: ${url.pathname}`);
    }
    res.setHeader("Content-Type", "application/json");
    if (url.pathname.startsWith("/v1/agent/service/")) res.setHeader("X-Consul-ContentHash", `h${index}`);
    else res.setHeader("X-Consul-Index", String(index));
    res.end(JSON.stringify(body));
  };

  const server = createServer((req, res) => void handle(req, res).catch(() => res.destroy()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const wakeAll = () => {
    for (const wake of waiters) wake();
    waiters.clear();
  };
  const stop = async () => {
    if (!server.listening) return;
    const done = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await done;
    wakeAll();
  };
  return {
    address: `127.0.0.1:${port}`,
    mesh: own,
    state,
    asked,
    calls,
    change(apply) {
      apply(state);
      index++;
      wakeAll();
    },
    stop,
    async restart() {
      index = 3; // as a fresh agent, which counts anew
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
    },
    [Symbol.asyncDispose]: stop,
  };
}
