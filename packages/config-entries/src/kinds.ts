/** The kinds of config entries, how a record of one is named, and the topics that its readers wait on. */

/** Every kind, in the order in which a list of all of them is answered. */
export const CONFIG_KINDS = [
  "exported-services",
  "ingress-gateway",
  "jwt-provider",
  "mesh",
  "proxy-defaults",
  "service-defaults",
  "service-intentions",
  "service-resolver",
  "service-router",
  "service-splitter",
  "terminating-gateway",
] as const;

export type ConfigKind = (typeof CONFIG_KINDS)[number];

/** The table of config entries. `service-intentions` are not in it: they are a view of the intentions' own table. */
export const CONFIG_ENTRIES = "config-entries";

/** The one name that proxy-defaults can have. */
export const PROXY_DEFAULTS_NAME = "global";
/** The one name that mesh can have. */
export const MESH_NAME = "mesh";
/** The name that exported-services have without partitions: that of the default one. */
export const EXPORTED_SERVICES_NAME = "default";
/** What a service speaks where nothing says otherwise. */
export const DEFAULT_PROTOCOL = "tcp";

/** Whether a text names a kind; kinds are compared with case. */
export function isConfigKind(text: string): text is ConfigKind {
  return (CONFIG_KINDS as readonly string[]).includes(text);
}

/** The key of an entry's record. Names are compared without case. */
export function configEntryKey(kind: ConfigKind, name: string): string {
  return `${kind}\0${name.toLowerCase()}`;
}

/** The prefix of the keys of a kind's records. */
export function configKindPrefix(kind: ConfigKind): string {
  return `${kind}\0`;
}

/** The topic that every write of a config entry touches. */
export const CONFIG_TOPIC = "config-entries";

/** The topic of a kind. */
export function configKindTopic(kind: ConfigKind): string {
  return `config-entries/${kind}`;
}

/** The topic of one entry, whether it is there or not. */
export function configEntryTopic(kind: ConfigKind, name: string): string {
  return `config-entry/${kind}/${name.toLowerCase()}`;
}

/** The name that an entry of a kind has, whatever it is called: of some kinds there is one only. */
export function canonicalName(kind: ConfigKind, name: string): string {
  if (kind === "proxy-defaults") return PROXY_DEFAULTS_NAME;
  if (kind === "mesh") return MESH_NAME;
  return kind === "exported-services" && name === "" ? EXPORTED_SERVICES_NAME : name;
}
