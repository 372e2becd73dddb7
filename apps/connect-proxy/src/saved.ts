/**
 * The snapshot on disk, for a proxy that starts while no agent answers. It holds the leaf's key, so the file is its owner's
 * alone, and what it says is checked again before it is used.
 */
import { createHash } from "node:crypto";
import { open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { describeError, type Logger, makeDirectory } from "@heddle/daemon";
import { NO_REVOCATIONS, type RevocationsAnswer } from "@heddle/tls";
import {
  type Endpoint,
  type ProxySpec,
  type Rules,
  type Snapshot,
  type SnapshotStore,
  toLeaf,
  toRoots,
} from "@heddle/data-plane";

const VERSION = 1;
const SETTLE_MS = 200; // changes come in groups
const CONFIRM_MS = 60_000; // how often the file is told that it still holds, while the agent answers
const MAX_BYTES = 64 * 1024 * 1024;

interface Content {
  version: number;
  proxyId: string;
  savedAt: string;
  spec: ProxySpec;
  leaf: { certPem: string; keyPem: string };
  roots: { trustDomain: string; certPems: string[] };
  revocations?: RevocationsAnswer;
  rules?: Rules;
  endpoints: [string, readonly Endpoint[]][];
}

export interface SavedOptions {
  dir: string;
  /** Whose it is: the agent's address and which proxy of it. Another one's is never read. */
  owner: string;
  log: Logger;
}

export interface Saved {
  readonly proxyId: string;
  readonly savedAt: string;
  /** How long nobody has said that it still holds. */
  readonly ageMs: number;
  /** Puts what was saved into the store. */
  restore(store: SnapshotStore): void;
}

export interface SnapshotFile {
  /** What was saved, where it can be used still; says in the log why not. */
  load(): Promise<Saved | undefined>;
  /** Saves each change of the store from now on, and that it holds while the agent answers. Returns what writes the last of them. */
  follow(store: SnapshotStore, proxyId: string, isAgentUp: () => boolean): () => Promise<void>;
  /** Nobody is to start from it again. */
  remove(): Promise<void>;
}

/** Those of a folder that belong to `owner` of the proxy that they are of. */
export async function loadSnapshots(dir: string, owner: (proxyId: string) => string, log: Logger): Promise<Saved[]> {
  const names = await readdir(dir).catch(() => []);
  const found = await Promise.all(
    names
      .filter((name) => FILE_NAME.test(name))
      .map((name) => load(join(dir, name), log).then((saved) => ({ name, saved }))),
  );
  return found.flatMap(({ name, saved }) => (saved && name === fileName(owner(saved.proxyId)) ? [saved] : []));
}

const FILE_NAME = /^proxy-[0-9a-f]{16}\.json$/;

function fileName(owner: string): string {
  return `proxy-${digest(owner).slice(0, 16)}.json`;
}

async function load(path: string, log: Logger): Promise<Saved | undefined> {
  try {
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    if (!found) return undefined;
    if (found.size > MAX_BYTES) throw new Error(`the file has ${found.size} bytes, at most ${MAX_BYTES} are read`);
    if ((found.mode & 0o077) !== 0) throw new Error("others may read or write the file: want mode 0600");
    return { ...check(parse(await readFile(path, "utf8"))), ageMs: Math.max(0, Date.now() - found.mtimeMs) };
  } catch (error) {
    log.error("what was saved cannot be used", { path, error: describeError(error) });
    return undefined;
  }
}

export function createSnapshotFile({ dir, owner, log }: SavedOptions): SnapshotFile {
  const path = join(dir, fileName(owner));
  const cannot = (sentence: string, error: unknown) => log.error(sentence, { path, error: describeError(error) });
  return {
    load: () => load(path, log),
    remove: () => rm(path, { force: true }),
    follow(store, proxyId, isAgentUp) {
      let timer: NodeJS.Timeout | undefined;
      let writing: Promise<void> = Promise.resolve();
      let told = "";
      const save = () => {
        timer = undefined;
        const text = format(store.current, proxyId);
        if (text === undefined) return;
        writing = writing
          .then(() => write(dir, path, text))
          .then(() => {
            told = "";
          })
          .catch((error: unknown) => {
            if (told !== describeError(error)) cannot("cannot save what is known", error);
            told = describeError(error);
          });
      };
      let isOver = false;
      store.onChange(() => {
        if (!isOver) timer ??= setTimeout(save, SETTLE_MS);
      });
      const confirming = setInterval(() => {
        if (isAgentUp()) utimes(path, new Date(), new Date()).catch(() => {}); // as soon as there is one
      }, CONFIRM_MS);
      confirming.unref();
      return async () => {
        isOver = true;
        clearInterval(confirming);
        if (timer) {
          clearTimeout(timer);
          save();
        }
        await writing;
      };
    },
  };
}

function format({ spec, leaf, roots, revocations, rules, endpoints }: Snapshot, proxyId: string): string | undefined {
  if (!spec || !leaf || !roots) return undefined;
  const content: Content = {
    version: VERSION,
    proxyId,
    savedAt: new Date().toISOString(),
    spec,
    leaf: { certPem: leaf.certPem, keyPem: leaf.keyPem },
    roots: { trustDomain: roots.trustDomain, certPems: roots.certPems },
    ...(revocations && { revocations }),
    ...(rules && { rules }),
    endpoints: [...endpoints],
  };
  const text = JSON.stringify(content);
  return `${digest(text)}\n${text}\n`;
}

function parse(file: string): Content {
  const end = file.indexOf("\n");
  const text = file.slice(end + 1, -1);
  if (end !== 64 || digest(text) !== file.slice(0, end)) throw new Error("the file is damaged: its checksum differs");
  const content = JSON.parse(text) as Content;
  if (content.version !== VERSION) throw new Error(`the file is of version ${content.version}: want ${VERSION}`);
  return content;
}

/** A key that does not fit, roots that cannot be read, a certificate that has expired: nothing of it is used. */
function check({ proxyId, savedAt, spec, leaf, roots, revocations, rules, endpoints }: Content): Omit<Saved, "ageMs"> {
  const usable = toLeaf({ CertPEM: leaf.certPem, PrivateKeyPEM: leaf.keyPem }, spec.service);
  if (usable.notAfter <= Date.now())
    throw new Error(`its certificate expired at ${new Date(usable.notAfter).toISOString()}`);
  const trusted = toRoots({
    TrustDomain: roots.trustDomain,
    Roots: roots.certPems.map((RootCert) => ({ RootCert })),
  });
  return {
    proxyId,
    savedAt,
    restore(store) {
      if (!store.current.spec) store.set("spec", spec); // flags count before what was
      if (rules) store.set("rules", rules);
      store.set("revocations", revocations ?? NO_REVOCATIONS);
      store.set("roots", trusted);
      for (const [key, list] of endpoints) store.setEndpoints(key, list);
      store.set("leaf", usable);
    },
  };
}

/** Whole or not at all. */
async function write(dir: string, path: string, text: string): Promise<void> {
  makeDirectory(dir);
  const part = `${path}.${process.pid}.part`;
  const file = await open(part, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(part, path);
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
