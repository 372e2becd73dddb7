export { Draft } from "./draft.ts";
export { memoryBackend } from "./memory.ts";
export { openStore } from "./open.ts";
export { sqliteBackend } from "./sqlite.ts";
export { Store } from "./store.ts";
export type { OpenStoreOptions } from "./open.ts";
export type { Backend, Change, Command, Commit, StoredRecord, View, Write } from "./record.ts";
export type { CommandResult } from "./store.ts";
