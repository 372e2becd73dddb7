export { readArchive } from "./archive.ts";
export { readSnapshot } from "./read.ts";
export { writeSnapshot } from "./write.ts";
export type { SnapshotMeta } from "./archive.ts";
export type { Snapshot } from "./read.ts";
export type { SnapshotSource } from "./write.ts";
