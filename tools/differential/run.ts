import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { type Agent, type Answer, ask, startAgent, stopAgent } from "./agents.ts";
import { differences } from "./compare.ts";

// Long enough for either agent to bring a registration to its catalog.
const SETTLE_MS = 500;
const ASK_AGAIN_MS = 50;

/** A text, or what it is for one of the agents: ids differ. */
export type ForEach<T> = T | ((agent: Agent) => T);

/** What a list of cases is given. */
export interface Run {
  /** Ask both, and note what differs. Consul's answer is the first. */
  send(
    method: string,
    path: ForEach<string>,
    body?: ForEach<unknown>,
    headers?: Record<string, string>,
  ): Promise<[Answer, Answer]>;
  /** Was this part of the list asked for? */
  want(part: string): boolean;
  readonly agents: readonly [Agent, Agent];
}

interface Difference {
  readonly request: string;
  readonly found: string[];
}

const { values, positionals } = parseArgs({
  options: {
    consul: { type: "string", default: process.env["CONSUL"] ?? "consul" },
    heddle: { type: "string", default: new URL("../../heddle", import.meta.url).pathname },
    each: { type: "boolean", default: false },
  },
  allowPositionals: true,
});

const agents = [await startAgent(values.consul, "consul"), await startAgent(values.heddle, "heddle")] as const;
const differing: Difference[] = [];
let asked = 0;
let lastWriteAt = 0;
try {
  for (const positional of positionals) {
    const [list = "", parts] = positional.split(":");
    const wanted = parts?.split(",");
    const cases = (await import(`./cases/${list}.ts`)) as { default: (run: Run) => Promise<void> };
    await cases.default({ send, want: (part) => wanted?.includes(part) ?? true, agents });
  }
} finally {
  await Promise.all(agents.map((agent) => stopAgent(agent)));
}
if (!values.each) showKinds();
console.log(`${asked} requests, ${differing.length} differ`);
process.exit();

async function send(
  method: string,
  path: ForEach<string>,
  body?: ForEach<unknown>,
  headers?: Record<string, string>,
): Promise<[Answer, Answer]> {
  asked++;
  const one = (agent: Agent): Promise<Answer> => ask(agent, method, of(path, agent), of(body, agent), headers);
  if (method !== "GET") lastWriteAt = Date.now();
  const until = method === "GET" ? lastWriteAt + SETTLE_MS : 0;
  for (;;) {
    const [a, b] = await Promise.all([one(agents[0]), one(agents[1])]);
    const found = differences([agents[0], a], [agents[1], b]);
    if (found.length > 0 && Date.now() < until) {
      await sleep(ASK_AGAIN_MS);
      continue;
    }
    if (found.length > 0) note({ request: described(method, of(path, agents[0]), of(body, agents[0])), found });
    return [a, b];
  }
}

function note(difference: Difference): void {
  differing.push(difference);
  if (values.each)
    console.log([`# ${difference.request}`, ...difference.found.map((line) => `    ${line}`)].join("\n"));
}

/** Each kind of difference once: how often, what, and two requests that show it. */
function showKinds(): void {
  const kinds = new Map<string, string[]>();
  for (const { request, found } of differing) {
    const kind = found.map((line) => line.replace(/: \d+ \|/, ": N |").slice(0, 300)).join("\n    ");
    kinds.set(kind, [...(kinds.get(kind) ?? []), request]);
  }
  for (const [kind, requests] of [...kinds].sort(([, a], [, b]) => b.length - a.length)) {
    console.log(`${requests.length} × ${kind}`);
    for (const request of requests.slice(0, 2)) console.log(`        ${request}`);
  }
}

function of<T>(value: ForEach<T>, agent: Agent): T {
  return typeof value === "function" ? (value as (agent: Agent) => T)(agent) : value;
}

function described(method: string, path: string, body: unknown): string {
  const text = body === undefined ? "" : typeof body === "string" ? body : JSON.stringify(body);
  return `${method} ${path} ${text.slice(0, 400)}`;
}
