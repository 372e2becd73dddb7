/** Starts the real CA on a free loopback port and talks to it with plain HTTP. */
import { createLogHub, type LogEntry } from "@heddle/daemon";
import { serviceSpiffeId } from "@heddle/spiffe";
import { createCsr, generateKey } from "@heddle/tls";
import { type CaConfig, loadConfig, start } from "../src/index.ts";

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests read answers of many shapes
  json: () => any;
}

export interface TestCa extends AsyncDisposable {
  url: string;
  logs: LogEntry[];
  ask(method: string, path: string, body?: unknown): Promise<Answer>;
  sign(csr: string): Promise<Answer>;
  trustDomain(): Promise<string>;
  /** A good request for a service of this CA. */
  requestFor(service: string): Promise<string>;
  close(): Promise<void>;
}

export async function startCa(config: Partial<CaConfig> = {}): Promise<TestCa> {
  const logs: LogEntry[] = [];
  const hub = createLogHub({ write: () => {} });
  hub.tap("debug", (entry) => logs.push(entry));
  const defaults = loadConfig({ argv: [], env: {}, readFile: () => "" });
  const running = await start({ ...defaults, port: 0, csrMaxPerSecond: 0, ...config }, { log: hub.log.child("ca") });
  const ask: TestCa["ask"] = async (method, path, body) => {
    const res = await fetch(running.url + path, {
      method,
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await res.text();
    return { status: res.status, headers: res.headers, text, json: () => JSON.parse(text) as unknown };
  };
  const trustDomain = async (): Promise<string> =>
    (await ask("GET", "/v1/connect/ca/roots")).json().TrustDomain as string;
  return {
    url: running.url,
    logs,
    ask,
    sign: (csr) => ask("POST", "/internal/v1/ca/sign", { csr }),
    trustDomain,
    async requestFor(service) {
      const spiffeId = serviceSpiffeId({ trustDomain: await trustDomain(), datacenter: "dc1", service });
      return createCsr({ key: generateKey(), spiffeId });
    },
    close: () => running.close(),
    [Symbol.asyncDispose]: () => running.close(),
  };
}
