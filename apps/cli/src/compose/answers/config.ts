/** What the rows of config entries answer, made from the table that reads them, and compiled chains. */
import { CONFIG_KINDS, type ConfigKind, entryShape, type Shape } from "@heddle/config-entries";
import type { Spec } from "@heddle/daemon";
import { byName, INDEXES, list, object, texts, titled } from "./shared.ts";

const SCALARS = {
  boolean: "boolean",
  duration: "string",
  float: "number",
  integer: "integer",
  text: "string",
  unsigned: "integer",
} as const;

function toSpec(shape: Shape): Spec {
  if (shape === "opaque") return byName("any");
  if (typeof shape === "string") return SCALARS[shape];
  if ("kept" in shape) return toSpec(shape.kept);
  if ("list" in shape) return list(toSpec(shape.list));
  if ("map" in shape) return byName(toSpec(shape.map));
  return object(Object.fromEntries(Object.entries(shape.fields).map(([name, of]) => [name, toSpec(of)])));
}

/** Any config entry: which one its Kind says. */
export const CONFIG_ENTRY: Spec = {
  title: "ConfigEntry",
  tag: "Kind",
  cases: Object.fromEntries(CONFIG_KINDS.map((kind) => [kind, entry(kind)])),
};

function entry(kind: ConfigKind): Spec {
  const { object: fields } = toSpec(entryShape(kind)) as { object: Record<string, Spec> };
  const title = kind.replace(/(?:^|-)(.)/g, (_, letter: string) => letter.toUpperCase());
  return titled(title, { ...fields, Kind: { const: kind }, ...INDEXES });
}

const fieldOf = (kind: ConfigKind, ...path: string[]): Spec =>
  path.reduce<Spec>(
    (spec, name) => {
      const at = (spec as { object: Record<string, Spec> }).object[name] as Spec;
      return typeof at === "object" && "list" in at ? at.list : at;
    },
    toSpec(entryShape(kind)),
  );
const LOAD_BALANCER = fieldOf("service-resolver", "LoadBalancer");

const CHAIN_NODE: Spec = {
  title: "ChainNode",
  tag: "Type",
  cases: {
    router: titled("RouterNode", {
      Type: { const: "router" },
      Name: "string",
      Routes: list(object({ Definition: fieldOf("service-router", "Routes"), NextNode: "string" })),
    }),
    splitter: titled("SplitterNode", {
      Type: { const: "splitter" },
      Name: "string",
      Splits: list(object({ Definition: fieldOf("service-splitter", "Splits"), Weight: "number", NextNode: "string" })),
      LoadBalancer: LOAD_BALANCER,
    }),
    resolver: titled("ResolverNode", {
      Type: { const: "resolver" },
      Name: "string",
      Resolver: object({
        ...texts("ConnectTimeout", "RequestTimeout", "Target"),
        Default: "boolean",
        Failover: object({ Targets: "strings" }),
      }),
      LoadBalancer: LOAD_BALANCER,
    }),
  },
};
const CHAIN = object({
  Chain: titled("CompiledChain", {
    ...texts("ServiceName", "Namespace", "Datacenter", "CustomizationHash", "Protocol", "StartNode"),
    Nodes: byName(CHAIN_NODE),
    Targets: byName(
      titled("ChainTarget", {
        ...texts("ID", "Service", "ServiceSubset", "Namespace", "Datacenter", "SNI", "Name"),
        MeshGateway: fieldOf("service-defaults", "MeshGateway"),
        Subset: object({ Filter: "string", OnlyPassing: "boolean" }),
        External: "boolean",
      }),
    ),
  }),
});

export const CONFIG_ANSWERS: Record<string, Spec> = {
  "PUT /v1/config": "boolean",
  "GET /v1/config/": list(CONFIG_ENTRY),
  "DELETE /v1/config/{kind}/{name}": byName("any"),
  "GET /v1/config/{kind}/{name}": CONFIG_ENTRY,
  "GET /v1/discovery-chain/": CHAIN,
  "POST /v1/discovery-chain/": CHAIN,
};
