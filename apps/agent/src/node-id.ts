/** A node's id: kept in the data directory, so that a node that comes back under another name is known again. */
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cannotWrite, makeDataDirectory } from "@heddle/daemon";

export function nodeId(dataDir: string): string {
  if (dataDir === "") return randomUUID();
  const file = join(dataDir, "node-id");
  try {
    const known = readFileSync(file, "utf8").trim();
    if (known !== "") return known;
  } catch {
    // Not there yet: this is the first start.
  }
  const id = randomUUID();
  makeDataDirectory(dataDir);
  try {
    writeFileSync(file, `${id}\n`, { mode: 0o600 });
  } catch (cause) {
    throw cannotWrite(dataDir, cause);
  }
  return id;
}
