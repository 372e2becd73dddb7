/** What a prepared query may say: the fields of its definition, and Consul's rules for them. */
import { type Decoded, parseDuration, refusal, type Spec } from "@heddle/daemon";
import type { FailoverTarget, QueryRecord } from "../records.ts";

/** The body of POST /v1/query and PUT /v1/query/:id. `Targets` is of Consul 1.14. */
export const QUERY_FIELDS: Record<string, Spec> = {
  ID: "string",
  Name: "string",
  Session: "string",
  Token: "string",
  Template: { object: { Type: "string", Regexp: "string", RemoveEmptyTags: "boolean" } },
  Service: {
    object: {
      Service: "string",
      Failover: {
        object: {
          NearestN: "integer",
          Datacenters: "strings",
          Targets: {
            list: { object: { Peer: "string", Datacenter: "string", Partition: "string", Namespace: "string" } },
          },
        },
      },
      OnlyPassing: "boolean",
      IgnoreCheckIDs: "strings",
      Near: "string",
      Tags: "strings",
      NodeMeta: { map: "string" },
      ServiceMeta: { map: "string" },
      Connect: "boolean",
    },
  },
  DNS: { object: { TTL: "string" } },
  CreateIndex: "integer",
  ModifyIndex: "integer",
};

const MAX_META = 64;
const MAX_META_KEY = 128;
const MAX_META_VALUE = 512;

/** The query that a body defines, checked. Throws Consul's "Invalid prepared query: …" (500). */
export function toQuery(body: Decoded, id: string): QueryRecord {
  const template = part(body, "Template");
  const service = part(body, "Service");
  const failover = part(service, "Failover");
  const record: QueryRecord = {
    ID: id,
    Name: text(body["Name"]),
    Session: text(body["Session"]),
    Token: text(body["Token"]),
    Template: {
      Type: text(template["Type"]),
      Regexp: text(template["Regexp"]),
      RemoveEmptyTags: template["RemoveEmptyTags"] === true,
    },
    Service: {
      Service: text(service["Service"]),
      Failover: {
        NearestN: (failover["NearestN"] as number | undefined) ?? 0,
        Datacenters: list(failover["Datacenters"]),
        ...targets(failover["Targets"]),
      },
      OnlyPassing: service["OnlyPassing"] === true,
      IgnoreCheckIDs: list(service["IgnoreCheckIDs"]),
      Near: text(service["Near"]),
      Tags: list(service["Tags"]),
      NodeMeta: map(service["NodeMeta"]),
      ServiceMeta: map(service["ServiceMeta"]),
      Connect: service["Connect"] === true,
    },
    DNS: { TTL: text(part(body, "DNS")["TTL"]) },
  };
  check(record);
  return record;
}

const part = (of: Decoded, name: string): Decoded => (of[name] as Decoded | undefined) ?? {};
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const list = (value: unknown): string[] | null => (value as string[] | undefined) ?? null;
const map = (value: unknown): Record<string, string> | null =>
  value === undefined ? null : Object.fromEntries(Object.entries(value as Decoded).map(([k, v]) => [k, text(v)]));

function targets(given: unknown): { Targets?: FailoverTarget[] } {
  const found = (given as (Decoded | undefined)[] | undefined) ?? [];
  return found.length === 0 ? {} : { Targets: found.map((target) => ({ ...target })) };
}

function check({ Name, Session, Token, Template, Service, DNS }: QueryRecord): void {
  const { Failover } = Service;
  if (Name === "" && Template.Type === "" && Session === "") throw invalid("Must be bound to a session");
  if (Token === "<hidden>")
    throw invalid(`Bad Token '<hidden>', it looks like a query definition with a redacted token was submitted`);
  if (Service.Service === "") throw invalid("Must provide a Service name to query");
  if (Failover.NearestN < 0) throw invalid(`Bad NearestN '${Failover.NearestN}', must be >= 0`);
  if (Failover.Targets && (Failover.NearestN !== 0 || (Failover.Datacenters ?? []).length > 0))
    throw invalid("Targets cannot be populated with NearestN or Datacenters");
  checkMeta(Service.NodeMeta ?? {});
  if (DNS.TTL !== "") checkTtl(DNS.TTL);
}

// Consul checks a node's meta alone; what a service may have is not looked at.
function checkMeta(meta: Record<string, string>): void {
  const entries = Object.entries(meta);
  if (entries.length > MAX_META) throw invalid(`Node metadata cannot contain more than ${MAX_META} key/value pairs`);
  for (const [key, value] of entries) {
    const why =
      key === ""
        ? "Key cannot be blank"
        : !/^[a-zA-Z0-9_-]+$/.test(key)
          ? "Key contains invalid characters"
          : key.length > MAX_META_KEY
            ? `Key is too long (limit: ${MAX_META_KEY} characters)`
            : value.length > MAX_META_VALUE
              ? `Value is too long (limit: ${MAX_META_VALUE} characters)`
              : undefined;
    if (why) throw invalid(`Couldn't load metadata pair ('${key}', '${value}'): ${why}`);
  }
}

function checkTtl(ttl: string): void {
  let ms: number;
  try {
    ms = parseDuration(ttl);
  } catch {
    throw invalid(`Bad DNS TTL '${ttl}': ${goDurationError(ttl)}`);
  }
  if (ms < 0) throw invalid(`DNS TTL '${Math.round(ms * 1e6)}', must be >=0`);
}

function goDurationError(given: string): string {
  const shown = JSON.stringify(given);
  const [, number, unit] =
    /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))*(\d+\.?\d*|\.\d+)([^\d.]*)/.exec(given) ?? [];
  if (number !== undefined && unit === "") return `time: missing unit in duration ${shown}`;
  if (number !== undefined) return `time: unknown unit ${JSON.stringify(unit)} in duration ${shown}`;
  return `time: invalid duration ${shown}`;
}

const invalid = (message: string) => refusal(500, `Invalid prepared query: ${message}`);
