/**
 * A daemon's identity on the internal API as it is now: listeners and clients look at it for each connection, so that a
 * renewed certificate or other roots take effect without a restart.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { type StatsListener, unwatchFile, watchFile } from "node:fs";
import { describeError, InvalidArgumentError } from "./errors.ts";
import { type InternalFiles, type InternalIdentity, loadInternalIdentity } from "./internal.ts";
import type { Logger } from "./log.ts";

const LOOK_EVERY_MS = 2_000; // three stat calls; events of the file system are lost on some of them
/** Of a certificate from files, whoever renews it needs time to hear of it. */
const WARN_BEFORE_MS = 14 * 86_400_000;

export interface LiveIdentity {
  current(): InternalIdentity;
  /** Calls back after each change; returns its undoing. */
  onChange(listener: () => void): () => void;
}

export interface SettableIdentity extends LiveIdentity {
  set(identity: InternalIdentity): void;
}

export function createIdentity(first: InternalIdentity): SettableIdentity {
  let identity = first;
  const listeners = new Set<() => void>();
  return {
    current: () => identity,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(next) {
      identity = next;
      for (const listener of listeners) listener();
    },
  };
}

export interface FollowedIdentity extends LiveIdentity, Disposable {}

/**
 * The identity in three files, read again whenever they change; undefined where none is given. Throws InvalidArgumentError
 * where only some are, or what they hold cannot be used; later, such files are told in the log and change nothing.
 */
export function followIdentityFiles(files: InternalFiles, log: Logger): FollowedIdentity | undefined {
  const first = readPair(files);
  if (!first) return undefined;
  const identity = createIdentity(first);
  const paths = [files.caFile, files.certFile, files.keyFile];
  let told = "";
  warnOfEnd(first, log);
  const look: StatsListener = (now, before) => {
    if (now.mtimeMs === before.mtimeMs && now.ino === before.ino && now.size === before.size) return;
    try {
      const next = readPair(files) as InternalIdentity;
      if (isSame(next, identity.current())) return;
      identity.set(next);
      told = "";
      const { validTo } = new X509Certificate(next.certPem);
      log.info("certificates of the internal API changed, connections from now on use them", { valid_to: validTo });
      warnOfEnd(next, log);
    } catch (error) {
      // Between two of three files that somebody replaces one after another this is expected: the last one settles it.
      const problem = describeError(error);
      if (problem !== told) log.warn("changed certificates cannot be used, those before go on", { error: problem });
      told = problem;
    }
  };
  for (const path of paths) watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, look);
  return {
    ...identity,
    [Symbol.dispose]() {
      for (const path of paths) unwatchFile(path, look);
    },
  };
}

function readPair(files: InternalFiles): InternalIdentity | undefined {
  const identity = loadInternalIdentity(files);
  if (!identity) return undefined;
  try {
    for (const pem of identity.roots) new X509Certificate(pem);
    if (new X509Certificate(identity.certPem).checkPrivateKey(createPrivateKey(identity.keyPem))) return identity;
  } catch (cause) {
    const places = `${files.caFile}, ${files.certFile}, ${files.keyFile}`;
    throw new InvalidArgumentError(`want certificates and a key as PEM in ${places}`, { cause });
  }
  throw new InvalidArgumentError(`the key in ${files.keyFile} is not that of the certificate in ${files.certFile}`);
}

const isSame = (a: InternalIdentity, b: InternalIdentity): boolean =>
  a.certPem === b.certPem && a.keyPem === b.keyPem && a.roots.join("") === b.roots.join("");

function warnOfEnd({ certPem }: InternalIdentity, log: Logger): void {
  const { validTo } = new X509Certificate(certPem);
  if (Date.parse(validTo) - Date.now() < WARN_BEFORE_MS)
    log.warn("the internal API's certificate is about to end, replace its files", { valid_to: validTo });
}
