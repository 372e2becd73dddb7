/** /v1/event: messages to the agents of the datacenter. Servers keep the latest; each agent lists those meant for its node. */
import { eventIndex, NO_EVENT_INDEX } from "@heddle/api-client";
import { type ApiRequest, type ApiTable, readBody, readParams, refusal, reply } from "@heddle/daemon";
import { compilePattern, loadRegexps } from "@heddle/filter";
import type { AgentDeps } from "../deps.ts";

// Serf's limit for a user event, and what Consul's envelope takes of it: both travel in one packet there, and clients
// count on the same sizes here.
const MAX_EVENT_BYTES = 512;
const ENVELOPE_BYTES = 96;
const MAX_BODY = 64 * 1024;

interface UserEvent {
  ID: string;
  Name: string;
  Payload: string | null;
  NodeFilter: string;
  ServiceFilter: string;
  TagFilter: string;
  Version: number;
  LTime: number;
}

export function eventTable(deps: AgentDeps): ApiTable {
  return {
    "/v1/event/fire/": { PUT: (request) => fire(deps, request) },
    "/v1/event/list": { GET: (request) => list(deps, request) },
  };
}

async function fire({ catalog }: AgentDeps, request: ApiRequest): Promise<void> {
  const { rest: name, query } = request;
  if (name === "") throw refusal(400, "Missing name");
  const payload = await readBody(request.req, MAX_BODY);
  const filters = {
    NodeFilter: query.get("node") ?? "",
    ServiceFilter: query.get("service") ?? "",
    TagFilter: query.get("tag") ?? "",
  };
  if (filters.TagFilter !== "" && filters.ServiceFilter === "")
    throw refusal(500, "Cannot provide tag filter without service filter");
  await loadRegexps();
  for (const [what, pattern] of Object.entries(filters)) refuseBadPattern(what.replace("Filter", ""), pattern);
  const size = ENVELOPE_BYTES + 2 * Buffer.byteLength(name) + payload.length + filterBytes(Object.values(filters));
  if (size > MAX_EVENT_BYTES) {
    throw refusal(
      500,
      `1 error occurred:\n\t* error broadcasting event to segment "": user event exceeds configured limit of ${MAX_EVENT_BYTES} bytes before encoding\n\n`,
    );
  }
  const event = { Name: name, Payload: payload.toString("base64"), ...filters };
  const { body } = await catalog.put<{ ID: string }>("/v1/internal/event", { body: event });
  // Its logical time is known once it has been seen to arrive, so Consul answers 0 too.
  reply(request, { ID: body.ID, ...event, Payload: event.Payload || null, Version: 1, LTime: 0 });
}

const filterBytes = (filters: string[]): number =>
  filters.reduce((sum, f) => sum + (f === "" ? 0 : Buffer.byteLength(f) + 4), 0);

function refuseBadPattern(what: string, pattern: string): void {
  try {
    if (pattern !== "") compilePattern(pattern);
  } catch (cause) {
    const why = (cause as Error).message.replace(/^Failed to compile regular expression ".*?": /s, "");
    throw refusal(500, `Invalid ${what.toLowerCase()} filter: ${why}`);
  }
}

/** The events for this node; with `index`, once the last of them is another one than that index stood for. */
async function list(deps: AgentDeps, request: ApiRequest): Promise<void> {
  const { query, res } = request;
  const { index, waitMs } = readParams(query);
  const name = query.get("name") ?? "";
  const end = performance.now() + waitMs + (Math.random() * waitMs) / 16;
  const gone = new AbortController();
  res.once("close", () => gone.abort());
  await loadRegexps();
  let seen = 0;
  for (;;) {
    const leftMs = Math.max(0, end - performance.now());
    const asked = deps.catalog.get<UserEvent[]>("/v1/internal/event", {
      query: seen === 0 ? {} : { index: seen, wait: `${Math.ceil(leftMs)}ms` },
      timeoutMs: leftMs * 1.1 + 10_000,
      signal: gone.signal,
    });
    const answer = await asked.catch((error: unknown) => {
      if (!gone.signal.aborted) throw error;
    });
    if (!answer) return;
    seen = answer.index;
    const events = answer.body.filter((event) => (name === "" || event.Name === name) && isForThisNode(deps, event));
    const newest = events.at(-1);
    const last = newest ? (eventIndex(newest.ID) ?? newest.LTime) : NO_EVENT_INDEX;
    if (index !== 0 && last === index && performance.now() < end) continue;
    return reply(request, events, { "X-Consul-Index": last });
  }
}

function isForThisNode({ config, state }: AgentDeps, { NodeFilter, ServiceFilter, TagFilter }: UserEvent): boolean {
  if (NodeFilter !== "" && !compilePattern(NodeFilter)(config.nodeName)) return false;
  if (ServiceFilter === "") return true;
  const isService = compilePattern(ServiceFilter);
  const isTag = TagFilter === "" ? undefined : compilePattern(TagFilter);
  return state
    .services()
    .some(({ definition: d }) => isService(d.Name) && (!isTag || d.Tags.some((tag) => isTag(tag))));
}
