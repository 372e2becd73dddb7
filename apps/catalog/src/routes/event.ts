/** /v1/internal/event: the latest user events of the datacenter. Each agent picks from them those that are meant for it. */
import { createEventId, eventIndex, NO_EVENT_INDEX } from "@heddle/api-client";
import { type ApiTable, decodeBody, readBody, reply, type Spec } from "@heddle/daemon";
import { type Ask, read } from "../blocking.ts";
import type { CatalogDeps } from "../deps.ts";
import { EVENTS, type EventRecord } from "../records.ts";
import { questionKey } from "./reads.ts";

const MAX_BODY = 16 * 1024;
const MAX_KEPT = 256; // as many as a Consul agent remembers
export const EVENT_FIELDS: Record<string, Spec> = {
  Name: "string",
  Payload: "string",
  NodeFilter: "string",
  ServiceFilter: "string",
  TagFilter: "string",
};

export const eventQuestions = ({ state }: CatalogDeps): Record<string, Ask> => ({
  "/v1/internal/event": ({ query }) => ({
    key: questionKey("/v1/internal/event", query),
    topics: [EVENTS],
    compute: () =>
      state.store
        .list<EventRecord>(EVENTS)
        .map(({ value, createIndex }) => ({ ...value, Version: 1, LTime: createIndex }))
        .sort((a, b) => a.LTime - b.LTime),
  }),
});

export function eventTable(deps: CatalogDeps): ApiTable {
  const { store } = deps.state;
  return {
    "/v1/internal/event": {
      GET: read(deps.state, eventQuestions(deps)["/v1/internal/event"] as Ask),
      PUT: async (request) => {
        const body = decodeBody(await readBody(request.req, MAX_BODY), EVENT_FIELDS);
        const text = (name: string) => (body[name] as string | undefined) ?? "";
        const event: Omit<EventRecord, "ID"> = {
          Name: text("Name"),
          Payload: text("Payload") === "" ? null : text("Payload"),
          NodeFilter: text("NodeFilter"),
          ServiceFilter: text("ServiceFilter"),
          TagFilter: text("TagFilter"),
        };
        const { result: ID } = await store.run((view) => {
          const old = view.list<EventRecord>(EVENTS).sort((a, b) => a.createIndex - b.createIndex);
          const id = createEventId(Math.max(NO_EVENT_INDEX, ...old.map((e) => eventIndex(e.key) ?? 0)) + 1);
          const dropped = old.slice(0, Math.max(0, old.length - MAX_KEPT + 1));
          const writes = dropped.map(({ table, key }) => ({ table, key }));
          return { writes: [...writes, { table: EVENTS, key: id, value: { ID: id, ...event } }], result: id };
        });
        reply(request, { ID });
      },
    },
  };
}
