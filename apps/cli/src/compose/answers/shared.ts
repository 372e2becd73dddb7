/** What several groups answer with. */
import { SHOWN_CHECK, SHOWN_PROXY, SHOWN_SERVICE } from "@heddle/catalog/operations";
import type { Spec } from "@heddle/daemon";

export const list = (of: Spec): Spec => ({ list: of });
export const byName = (of: Spec): Spec => ({ map: of });
export const object = (fields: Record<string, Spec>): Spec => ({ object: fields });
export const titled = (title: string, fields: Record<string, Spec>): Spec => ({ title, object: fields });
/** The same fields, each text. */
export const texts = (...names: string[]): Record<string, Spec> =>
  Object.fromEntries(names.map((name) => [name, "string"]));
export const integers = (...names: string[]): Record<string, Spec> =>
  Object.fromEntries(names.map((name) => [name, "integer"]));

export const META: Spec = { map: "string" };
export const INDEXES = { CreateIndex: "index", ModifyIndex: "index" } as const;
/** In the body of some answers, beside the headers. */
export const QUERY_META = {
  Index: "index",
  LastContact: "integer",
  KnownLeader: "boolean",
  ConsistencyLevel: "string",
} as const;
export const NODE_FIELDS: Record<string, Spec> = {
  ...texts("ID", "Node", "Address", "Datacenter"),
  TaggedAddresses: META,
};

export const NODE = titled("Node", { ...NODE_FIELDS, Meta: META, ...INDEXES });
export const CHECK = titled("HealthCheck", SHOWN_CHECK);
export const SERVICE = titled("NodeService", SHOWN_SERVICE);
export const AGENT_SERVICE = titled("AgentService", { ...SHOWN_SERVICE, ContentHash: "string" });
export const INSTANCE = titled("ServiceInstance", { Node: NODE, Service: SERVICE, Checks: list(CHECK) });
export const PROXY: Spec = SHOWN_PROXY;
export const KV = titled("KVPair", {
  ...texts("Key", "Value", "Session"),
  LockIndex: "index",
  Flags: "uint64",
  ...INDEXES,
});
export const ID = object({ ID: "string" });
export const COORDINATE = object({ Vec: list("number"), Error: "number", Adjustment: "number", Height: "number" });
export const ROOTS = titled("CARoots", {
  ...texts("ActiveRootID", "TrustDomain"),
  Roots: list(
    titled("CARoot", {
      ...texts("ID", "Name", "SigningKeyID", "ExternalTrustDomain", "NotBefore", "NotAfter", "RootCert"),
      ...texts("PrivateKeyType"),
      SerialNumber: "uint64",
      IntermediateCerts: "strings",
      Active: "boolean",
      PrivateKeyBits: "integer",
      ...INDEXES,
    }),
  ),
});
