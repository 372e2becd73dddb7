/** Whether the machine was started anew since the agent ran last: what was well before is then not known to be. */
import { readFileSync } from "node:fs";
import type { Store } from "@heddle/store";

const META = "meta";
const KEY = "boot-id";

/** True where it was, or where that cannot be told; remembers this start of the machine. */
export async function isSameBoot(store: Store, read: () => string = readBootId): Promise<boolean> {
  const now = read();
  const before = store.get<string>(META, KEY)?.value;
  if (before !== now) await store.run(() => ({ writes: [{ table: META, key: KEY, value: now }], result: undefined }));
  return before === undefined || before === now;
}

function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return ""; // not Linux
  }
}
