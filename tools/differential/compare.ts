import type { Agent, Answer } from "./agents.ts";

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const TIME = /\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)/g;
const DECODER = /decode|json:|cannot unmarshal|JSON/i;
const MOST_OF_ONE = 6;

// What no two agents have in common.
const VOLATILE = new Set(
  `CreateIndex ModifyIndex LockIndex Index Hash CreatedAt UpdatedAt RaftIndex LTime Version ContentHash ExposedPort version
   SerialNumber CreateTime consul-version SigningKeyID RootCert ActiveRootID TrustDomain Coord Native`.split(/\s+/),
);

const HEADERS =
  "x-consul-index x-consul-knownleader x-consul-lastcontact x-consul-effective-consistency x-cache age allow location".split(
    " ",
  );

/** What differs between two answers to the same request: the left is Consul's. */
export function differences(left: [Agent, Answer], right: [Agent, Answer]): string[] {
  const [[consul, a], [heddle, b]] = [left, right];
  const found: string[] = [];
  if (a.status !== b.status) found.push(`status ${a.status} | ${b.status}`);
  if (a.type !== b.type) found.push(`type ${a.type} | ${b.type}`);
  const [x, y] = [parsed(consul, a.body), parsed(heddle, b.body)];
  if (x !== undefined && y !== undefined) {
    found.push(...inJson(ordered(x), ordered(y), "").slice(0, MOST_OF_ONE));
  } else {
    const [text, other] = [anonymous(consul, a.body).trim(), anonymous(heddle, b.body).trim()];
    const bothDecoders = DECODER.test(text) && DECODER.test(other);
    if (text !== other && !bothDecoders) found.push(`text ${short(text, 200)} | ${short(other, 200)}`);
  }
  for (const header of HEADERS) {
    if (a.headers[header] !== undefined && b.headers[header] === undefined) {
      found.push(`header ${header}: ${String(a.headers[header])} | (missing)`);
    }
  }
  return found;
}

function inJson(a: unknown, b: unknown, path: string): string[] {
  if (a === b) return [];
  const objects = typeof a === "object" && typeof b === "object" && a !== null && b !== null;
  if (!objects || Array.isArray(a) !== Array.isArray(b)) return [`${path}: ${short(a, 120)} | ${short(b, 120)}`];
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a.length !== b.length) return [`${path}: length ${a.length} | ${b.length}`];
    return a.flatMap((each, index) => inJson(each, b[index], `${path}[${index}]`));
  }
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const here = Object.keys(x).flatMap((key) =>
    Object.hasOwn(y, key)
      ? inJson(x[key], y[key], `${path}.${key}`)
      : [`${path}.${key}: ${short(x[key], 80)} | (missing)`],
  );
  const more = Object.keys(y).filter((key) => !Object.hasOwn(x, key));
  return [...here, ...more.map((key) => `${path}.${key}: (missing) | ${short(y[key], 80)}`)];
}

/** Lists in one order, volatile members alike. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) {
    const texts = value.map((each) => ordered(each)).map((each) => [JSON.stringify(each), each] as const);
    return texts.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
  }
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([key, each]) => [key, VOLATILE.has(key) ? "<volatile>" : ordered(each)]));
}

function parsed(agent: Agent, text: string): unknown {
  const names = new Map(Object.entries(agent.ports).map(([name, port]) => [port, `<${name}>`]));
  try {
    return JSON.parse(text, (_key, value: unknown) => {
      if (typeof value === "number") return names.get(value) ?? value;
      return typeof value === "string" ? anonymous(agent, value) : value;
    });
  } catch {
    return undefined;
  }
}

function anonymous(agent: Agent, text: string): string {
  let out = text;
  for (const [name, port] of Object.entries(agent.ports)) out = out.replaceAll(String(port), `<${name}>`);
  return out.replaceAll(UUID, "<uuid>").replaceAll(TIME, "<time>");
}

const short = (value: unknown, most: number): string => JSON.stringify(value).slice(0, most);
