export { parseStoreAddress, readStoreOptions } from "./address.ts";
export { otherAddresses } from "./cluster.ts";
export { Draft } from "./draft.ts";
export { FencedError } from "./errors.ts";
export { LocalStore } from "./local-store.ts";
export { memoryBackend } from "./memory.ts";
export { openStore } from "./open.ts";
export { STORE_OPTIONS } from "./options.ts";
export { sqliteBackend } from "./sqlite.ts";
export type { EtcdSettings, StoreAddress, StoreOptions } from "./address.ts";
export type { Cluster, Fact, Fence, ServerInfo } from "./cluster.ts";
export type { OpenStoreOptions } from "./open.ts";
export type {
  Backend,
  Change,
  Command,
  CommandResult,
  Commit,
  Contact,
  RunOptions,
  Store,
  StoredRecord,
  View,
  Write,
} from "./record.ts";
