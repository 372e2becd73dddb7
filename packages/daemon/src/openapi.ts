/**
 * The public API as an OpenAPI 3.1 document: paths and methods come from the tables of rows, bodies from the specs that decode
 * them; what an operation means and which parameters it reads is told beside the routes (each app's operations.ts).
 */
import type { Spec } from "./decode.ts";

/** What a document tells of one operation. */
export interface Operation {
  summary: string;
  /** What follows the row's path; needed where that ends in "/". */
  argument?: string;
  /** A read that can wait: index, wait and the consistency modes. */
  isRead?: boolean;
  /** Its other query parameters, by their names in PARAMETERS. */
  query?: readonly string[];
  /** JSON that is decoded by a spec, by another schema, or bytes as they are. */
  body?: Spec | { schema: Schema } | "bytes";
  /** What is answered; JSON where nothing is said. */
  answer?: "bytes" | "empty" | "page" | "text" | { of: Spec };
}

/**
 * Operations by method and row: "GET /v1/kv/"; a path below a row may be told by itself: "GET /v1/query/{name}/execute". Where
 * the row itself means nothing without what is below, it is "below".
 */
export type Operations = Record<string, Operation | "below">;
export type Schema = Record<string, unknown>;

const flag = (description: string) => ({ description, schema: { type: "boolean" }, allowEmptyValue: true });
const text = (description: string) => ({ description, schema: { type: "string" } });
const list = (description: string) => ({
  description,
  schema: { type: "array", items: { type: "string" } },
  explode: true,
});
const count = (description: string) => ({ description, schema: { type: "integer", minimum: 0 } });
const duration = (description: string) => ({ description, schema: { type: "string", examples: ["10s"] } });

/** Every query parameter that there is. */
const PARAMETERS: Record<string, Schema> = {
  acquire: text("Id of the session that is to hold the key's lock."),
  address: text("Address of a server."),
  by: {
    description: "Which end of the intentions is named.",
    schema: { type: "string", enum: ["source", "destination"] },
  },
  cached: flag("Answer from the agent's cache."),
  cas: count("Write only if the record still has this modify index; 0: only if it is not there."),
  "compile-dc": text("Datacenter to compile for."),
  connect: flag("Only what speaks Connect."),
  "connect-info": flag("Add whether and by which proxies an instance is reached over Connect (docs/api-additions.md)."),
  consistent: flag("Answer only what is certain to be the newest."),
  dc: text("Datacenter to ask; there is one."),
  destination: text("Name of the destination."),
  cancel: { description: "Ends what was begun.", schema: { type: "boolean" } },
  timeout: { description: "How long it may take, such as 30s.", schema: { type: "string" } },
  effective: flag("Add the status that counts (docs/api-additions.md)."),
  enable: { description: "Whether maintenance begins or ends.", schema: { type: "boolean" } },
  explain: flag("Tell what is left out and why (docs/api-additions.md)."),
  filter: text("An expression that rows have to match."),
  flags: {
    description: "A number that is kept with the key.",
    schema: { type: "integer", minimum: 0, maximum: 2 ** 64 },
  },
  format: text("`text` for plain text, `prometheus` for metrics."),
  hash: text("Wait until the content differs from the one of this hash."),
  id: text("Id of a server."),
  index: count("Wait until the answer is newer than this index."),
  ip: text("Address to sort by where the query says so."),
  keys: flag("Only the names of keys."),
  kind: text("Kind of the definitions."),
  limit: count("At most so many rows."),
  logjson: flag("Lines as JSON."),
  loglevel: text("Least level of the lines."),
  max_stale: duration("How old an answer may be."),
  name: text("Name to look for."),
  near: text("Sort by round-trip time from this node; `_agent` is the one that is asked."),
  node: text("Name of the node that is meant."),
  "node-meta": list("key:value that the node's metadata must have."),
  note: text("A remark that is kept as the check's output."),
  passing: flag("Only instances whose checks all pass."),
  pem: flag("PEM instead of JSON."),
  pretty: flag("JSON for people."),
  prune: flag("Forget the node entirely."),
  raw: flag("The value alone, as it is."),
  reason: text("Why there is maintenance."),
  recurse: flag("Everything that begins with this key."),
  release: text("Id of the session that gives the key's lock back."),
  "replace-existing-checks": flag("Take away checks that the body does not name."),
  seconds: count("How long to measure."),
  segment: text("Network segment; there is none."),
  separator: text("Fold keys at the first one of this text behind the prefix."),
  service: text("Regular expression of services."),
  source: text("Name of the source."),
  stale: flag("Answer even where that may be old."),
  tag: list("A tag that instances must have."),
  type: text("Type of the record that is asked for."),
  wait: duration("How long to wait at most; 5m, at most 10m."),
  "wait-cut": duration("Answer once all proxies hold the change, with what they cut; 10s where empty, at most 60s."),
  wan: flag("Members of the wide area; there are none."),
};

const METHODS = new Set(["DELETE", "GET", "POST", "PUT"]);

const READ_PARAMETERS = ["index", "wait", "stale", "consistent", "cached", "max_stale"];

export interface OpenApiOptions {
  version: string;
  /** Methods by row: the tables. */
  rows: Record<string, readonly string[]>;
  operations: Operations;
  /** Schemas that bodies refer to. */
  schemas?: Record<string, Schema>;
}

/** Every row is in it, whether it is told of or not. */
export function openApiDocument({ version, rows, operations, schemas = {} }: OpenApiOptions): Schema {
  const all = new Map<string, Operation | "below" | undefined>();
  for (const [row, methods] of Object.entries(rows))
    for (const method of methods.filter((m) => METHODS.has(m)))
      all.set(`${method} ${row}`, operations[`${method} ${row}`]);
  for (const [key, operation] of Object.entries(operations)) all.set(key, operation);
  const paths: Record<string, Record<string, Schema>> = {};
  const used = new Set<string>();
  const shown: Record<string, Schema> = {};
  for (const [key, operation] of [...all].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (operation === "below") continue;
    const [method = "", row = ""] = key.split(" ");
    const path = row.endsWith("/") ? `${row}{${operation?.argument ?? "argument"}}` : row;
    (paths[path] ??= {})[method.toLowerCase()] = toOperation(
      method,
      path,
      operation ?? { summary: `${method} ${path}` },
      used,
      shown,
    );
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Heddle",
      version,
      description:
        "The HTTP API, compatible with Consul 1.8.7. An argument at the end of a path may hold slashes where it is a key.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "http://127.0.0.1:8500", description: "the agent of this node" }],
    paths: Object.fromEntries(Object.entries(paths).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      parameters: Object.fromEntries(
        [...used].toSorted().map((name) => [name, { name, in: "query", ...PARAMETERS[name] }]),
      ),
      schemas: { ...schemas, ...Object.fromEntries(Object.entries(shown).toSorted(([a], [b]) => (a < b ? -1 : 1))) },
      responses: {
        Refused: {
          description: "Refused; the text says why and what is accepted.",
          content: { "text/plain": { schema: { type: "string" } } },
        },
      },
    },
  };
}

function toOperation(
  method: string,
  path: string,
  operation: Operation,
  used: Set<string>,
  shown: Record<string, Schema>,
): Schema {
  const { summary, isRead, query = [], body, answer } = operation;
  const names = [...(isRead ? READ_PARAMETERS : []), ...query, "dc", "pretty"];
  for (const name of names) {
    if (!Object.hasOwn(PARAMETERS, name)) throw new TypeError(`${method} ${path}: no parameter ${name} is described`);
    used.add(name);
  }
  const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
  return {
    operationId: operationId(method, path),
    summary,
    tags: [path.split("/")[2]],
    parameters: [...inPath, ...names.map((name) => ({ $ref: `#/components/parameters/${name}` }))],
    ...(body !== undefined && { requestBody: { content: bodyContent(body) } }),
    responses: {
      "200": okResponse(answer, isRead === true, shown),
      default: { $ref: "#/components/responses/Refused" },
    },
  };
}

function operationId(method: string, path: string): string {
  const words = path
    .replace(/^\/v1\//, "")
    .split(/[^A-Za-z0-9]+/)
    .filter(Boolean);
  return [method.toLowerCase(), ...words]
    .map((word, i) => (i === 0 ? word : word[0]?.toUpperCase() + word.slice(1)))
    .join("");
}

function bodyContent(body: NonNullable<Operation["body"]>): Schema {
  if (body === "bytes") return { "application/octet-stream": {} };
  const schema = typeof body === "object" && "schema" in body ? body.schema : specSchema(body);
  return { "application/json": { schema } };
}

function okResponse(answer: Operation["answer"], isRead: boolean, shown: Record<string, Schema>): Schema {
  const headers = isRead
    ? { "X-Consul-Index": { description: "For `index` of the next read.", schema: { type: "integer", minimum: 1 } } }
    : undefined;
  const types = {
    bytes: "application/octet-stream",
    page: "text/html",
    text: "text/plain",
    empty: "",
    json: "application/json",
  };
  const described = typeof answer === "object" ? { schema: shownSchema(answer.of, shown) } : {};
  const type = types[typeof answer === "object" ? "json" : (answer ?? "json")];
  return { description: "Done.", ...(headers && { headers }), ...(type && { content: { [type]: described } }) };
}

/** What an answer holds: more may come with a version, and null stands where nothing was given. Named ones are kept apart, once. */
function shownSchema(spec: Spec, shown: Record<string, Schema>): Schema {
  if (typeof spec !== "object" || "const" in spec) return nullable(specSchema(spec));
  if ("list" in spec) return { type: ["array", "null"], items: shownSchema(spec.list, shown) };
  if ("map" in spec) return { type: ["object", "null"], additionalProperties: shownSchema(spec.map, shown) };
  const { title } = spec;
  const make = (): Schema =>
    "tag" in spec
      ? casesSchema(spec, (of) => shownSchema(of, shown))
      : {
          type: "object",
          properties: Object.fromEntries(
            Object.entries(spec.object).map(([name, of]) => [name, shownSchema(of, shown)]),
          ),
        };
  if (title === undefined) return make();
  shown[title] ??= make();
  return { $ref: `#/components/schemas/${title}` };
}

/** One of several objects; tools that make clients choose by the tag. */
function casesSchema({ tag, cases }: Extract<Spec, { tag: string }>, toSchema: (of: Spec) => Schema): Schema {
  const schemas = Object.entries(cases).map(([value, of]) => [value, toSchema(of)] as const);
  const mapping = schemas.flatMap(([value, { $ref }]) => (typeof $ref === "string" ? [[value, $ref]] : []));
  return {
    oneOf: schemas.map(([, schema]) => schema),
    discriminator: { propertyName: tag, mapping: Object.fromEntries(mapping) },
  };
}

const nullable = (schema: Schema): Schema =>
  typeof schema["type"] === "string" ? { ...schema, type: [schema["type"], "null"] } : schema;

/** What a spec of a body accepts, as a JSON Schema. Names are taken in any case, and null stands for "not given". */
export function specSchema(spec: Spec): Schema {
  if (typeof spec === "object") {
    if ("list" in spec) return { type: "array", items: specSchema(spec.list) };
    if ("map" in spec) return { type: "object", additionalProperties: specSchema(spec.map) };
    if ("const" in spec) return { const: spec.const };
    if ("tag" in spec) return casesSchema(spec, specSchema);
    const properties = Object.entries(spec.object).map(([name, of]) => [name, specSchema(of)]);
    return { type: "object", properties: Object.fromEntries(properties) as Schema, additionalProperties: false };
  }
  switch (spec) {
    case "any":
      return {};
    case "boolean":
    case "string":
    case "integer":
    case "number":
      return { type: spec };
    case "index":
    case "uint64":
      return { type: "integer", minimum: 0, maximum: 2 ** 64 };
    case "duration":
      return { type: ["string", "number"], description: 'A duration such as "10s", or nanoseconds.' };
    case "strings":
      return { type: "array", items: { type: "string" } };
  }
}
