/** What can be brought from a Consul, each with how it is read there and written here: Consul's own HTTP API on both sides. */
import type { ApiClient } from "@heddle/api-client";

/** Items by what tells them apart. An item is what `write` and `remove` of its area need. */
export interface Area {
  /** Blocking queries that answer when something of it changed. */
  watches: readonly string[];
  /** How many items are written at a time; 1 where one needs those before it. */
  atOnce: number;
  read: (source: ApiClient) => Promise<Map<string, unknown>>;
  write: (target: ApiClient, item: unknown) => Promise<unknown>;
  remove: (target: ApiClient, item: unknown) => Promise<unknown>;
}

type Row = Record<string, unknown>;

const CONFIG_KINDS = [
  "proxy-defaults",
  "service-defaults",
  "service-resolver",
  "service-splitter",
  "service-router",
  "ingress-gateway",
  "terminating-gateway",
];
// What each registry writes about itself.
const OWN_SERVICE = "consul";
const OWN_CHECK = "serfHealth";

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const rows = async (source: ApiClient, path: string): Promise<Row[]> =>
  (await source.get<Row[] | null>(path, { allow: [404] })).body || [];
const without = (row: Row, ...names: string[]): Row =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)));

const catalog: Area = {
  atOnce: 1,
  watches: ["/v1/catalog/nodes", "/v1/catalog/services", "/v1/health/state/any"],
  async read(source) {
    const items = new Map<string, unknown>();
    for (const node of await rows(source, "/v1/catalog/nodes")) {
      const name = text(node["Node"]);
      const path = encodeURIComponent(name);
      const found = await source.get<{ Services?: Record<string, Row> } | null>(`/v1/catalog/node/${path}`);
      // Without its id: the node's own agent has that once it has moved.
      const facts = {
        Node: name,
        Address: node["Address"],
        TaggedAddresses: node["TaggedAddresses"],
        NodeMeta: node["Meta"],
      };
      items.set(`node ${name}`, { ...facts, SkipNodeUpdate: false });
      for (const [id, service] of Object.entries(found.body?.Services ?? {}))
        if (id !== OWN_SERVICE)
          items.set(`service ${name} ${id}`, {
            ...facts,
            Service: without(service, "CreateIndex", "ModifyIndex", "Datacenter"),
          });
      for (const check of await rows(source, `/v1/health/node/${path}`))
        if (check["CheckID"] !== OWN_CHECK && check["ServiceID"] !== OWN_SERVICE)
          items.set(`check ${name} ${text(check["CheckID"])}`, {
            ...facts,
            Check: without(check, "CreateIndex", "ModifyIndex"),
          });
    }
    return items;
  },
  write: (target, item) => target.put("/v1/catalog/register", { body: item }),
  remove(target, item) {
    const { Node, Service, Check } = item as { Node: string; Service?: { ID: string }; Check?: { CheckID: string } };
    const what = Service ? { ServiceID: Service.ID } : Check ? { CheckID: Check.CheckID } : {};
    return target.put("/v1/catalog/deregister", { body: { Node, ...what } });
  },
};

const keyPath = (key: string): string => `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;

const kv: Area = {
  atOnce: 8,
  watches: ["/v1/kv/?recurse"],
  async read(source) {
    const { body, status, raw } = await source.get<Row[] | null>("/v1/kv/?recurse", { allow: [404] });
    if (status === 404) return new Map();
    // Flags go past what a number holds: as they stand in the answer.
    const flags = [...raw.toString("utf8").matchAll(/"Flags":\s*(\d+)/g)].map(([, digits]) => digits);
    return new Map(
      (body ?? []).map((row, i) => [
        text(row["Key"]),
        { Key: row["Key"], Value: row["Value"], Flags: flags[i] ?? "0" },
      ]),
    );
  },
  write(target, item) {
    const { Key, Value, Flags } = item as { Key: string; Value: string | null; Flags: string };
    return target.put(keyPath(Key), { query: { flags: Flags }, body: Buffer.from(Value ?? "", "base64") });
  },
  remove: (target, item) => target.delete(keyPath((item as { Key: string }).Key)),
};

const pair = (item: unknown) => {
  const { SourceName: source, DestinationName: destination } = item as Record<string, string>;
  return { source, destination };
};

const intentions: Area = {
  atOnce: 8,
  watches: ["/v1/connect/intentions"],
  async read(source) {
    const found = await rows(source, "/v1/connect/intentions");
    return new Map(
      found.map((row) => [
        `${text(row["SourceName"])} ${text(row["DestinationName"])}`,
        {
          ...{ SourceName: row["SourceName"], DestinationName: row["DestinationName"], SourceType: row["SourceType"] },
          ...{
            Action: row["Action"],
            Permissions: row["Permissions"],
            JWT: row["JWT"],
            Description: row["Description"],
            Meta: row["Meta"],
          },
        },
      ]),
    );
  },
  write: (target, item) =>
    target.put("/v1/connect/intentions/exact", {
      query: pair(item),
      body: without(
        Object.fromEntries(Object.entries(item as Row).filter(([, v]) => v !== undefined && v !== null && v !== "")),
        "SourceName",
        "DestinationName",
      ),
    }),
  remove: (target, item) => target.delete("/v1/connect/intentions/exact", { query: pair(item), allow: [404] }),
};

const config: Area = {
  atOnce: 1,
  watches: CONFIG_KINDS.map((kind) => `/v1/config/${kind}`),
  async read(source) {
    const items = new Map<string, unknown>();
    // In the order in which they may be written: an entry needs the protocol that the ones before it say.
    for (const kind of CONFIG_KINDS)
      for (const entry of await rows(source, `/v1/config/${kind}`))
        items.set(`${kind}/${text(entry["Name"])}`, without(entry, "CreateIndex", "ModifyIndex"));
    return items;
  },
  write: (target, item) => target.put("/v1/config", { body: item }),
  remove(target, item) {
    const { Kind, Name } = item as Record<string, string>;
    return target.delete(`/v1/config/${Kind}/${encodeURIComponent(Name ?? "")}`);
  },
};

const queries: Area = {
  atOnce: 1,
  watches: ["/v1/query"],
  async read(source) {
    const found = await rows(source, "/v1/query");
    // Those of a session live as long as that, and sessions stay where they are.
    const lasting = found.filter((row) => !row["Session"]);
    return new Map(lasting.map((row) => [text(row["ID"]), without(row, "CreateIndex", "ModifyIndex")]));
  },
  // Ids are Consul's to give: one with the same name is replaced, others are new.
  async write(target, item) {
    const query = item as Row;
    const there = (await rows(target, "/v1/query")).find((row) => text(row["Name"]) === text(query["Name"]));
    return there
      ? target.put(`/v1/query/${text(there["ID"])}`, { body: without(query, "ID") })
      : target.post("/v1/query", { body: without(query, "ID") });
  },
  async remove(target, item) {
    const name = text((item as Row)["Name"]);
    const there = (await rows(target, "/v1/query")).find((row) => text(row["Name"]) === name);
    return there && target.delete(`/v1/query/${text(there["ID"])}`);
  },
};

export const AREAS: Record<string, Area> = { catalog, kv, config, intentions, queries };
