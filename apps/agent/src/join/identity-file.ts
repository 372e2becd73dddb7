/** What a node that has joined keeps in its data directory: its key, its certificate and the roots, for its user alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describeError, makeDirectory, UnavailableError } from "@heddle/daemon";
import { write0600 } from "@heddle/tls";

const FILE = "node-identity.json";

export interface StoredIdentity {
  node: string;
  /** host:port of the server that it joined at. */
  address: string;
  /** host:port of all servers that the mesh had when it was last asked; none in a file of an older version. */
  servers?: string[];
  trustDomain: string;
  keyPem: string;
  /** The server is recognised by these. */
  roots: string[];
  /** Empty until the server has signed it. With the certificates that lead to a root. */
  certPem: string;
  /** Id of the root that signed it. */
  rootId: string;
  /** RFC 3339. */
  notBefore: string;
  notAfter: string;
}

/** True where this node has joined before. */
export const hasJoined = (dataDir: string): boolean => dataDir !== "" && readText(dataDir) !== undefined;

/** Undefined where there is none. Throws UnavailableError for one that cannot be read. */
export function readIdentity(dataDir: string): StoredIdentity | undefined {
  const text = dataDir === "" ? undefined : readText(dataDir);
  if (text === undefined) return undefined;
  try {
    const stored = JSON.parse(text) as StoredIdentity;
    if (typeof stored.keyPem === "string" && Array.isArray(stored.roots)) return stored;
  } catch {
    // What it holds is a key: it is not shown.
  }
  throw new UnavailableError(`${join(dataDir, FILE)} is no identity of a node: remove it and join anew`);
}

/** Replaces it in one step. Without a data directory it is kept in memory alone. */
export function writeIdentity(dataDir: string, identity: StoredIdentity): void {
  if (dataDir === "") return;
  try {
    makeDirectory(dataDir);
    write0600(join(dataDir, FILE), JSON.stringify(identity));
  } catch (cause) {
    throw new UnavailableError(`cannot write ${join(dataDir, FILE)}: ${describeError(cause)}`, { cause });
  }
}

function readText(dataDir: string): string | undefined {
  try {
    return readFileSync(join(dataDir, FILE), "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new UnavailableError(`cannot read ${join(dataDir, FILE)}: ${describeError(cause)}`, { cause });
  }
}
