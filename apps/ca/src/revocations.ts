/** What was revoked: kept in the store, so that a restart forgets nothing, until the certificates have expired by themselves. */
import { type Clock, describeError, HeddleError, InvalidArgumentError, type Logger, type Timer } from "@heddle/daemon";
import { isSegment, parseSpiffeId } from "@heddle/spiffe";
import type { Store, StoredRecord, View, Write } from "@heddle/store";
import {
  certificatesToDer,
  colonHex,
  createRevocationList,
  createTrustBundle,
  readCertificate,
  type RevocationList,
  type RevokedNode,
  type RevokedSerial,
  type RevokedService,
  serialKey,
  toInternalPeer,
  verifyChain,
} from "@heddle/tls";
import type { Authority } from "./authority.ts";
import type { LeafLedger } from "./leaf-ledger.ts";
import { JOINED_NODES, type JoinedNodeRecord } from "./join/records.ts";
import { REVOCATION_HEAD, REVOKED_NODES, REVOKED_SERIALS, REVOKED_SERVICES } from "./records.ts";
import { rfc3339 } from "./rfc3339.ts";

const MAX_ENTRIES = 10_000; // each proxy holds them all
const MAX_REASON = 256;
const MAX_SERVICE = 256;
const MAX_SERIAL_BYTES = 20; // RFC 5280 §4.1.2.2
const CLOCKS_BEHIND_MS = 3_600_000; // an entry stays for peers that do not know yet that the certificate has expired
const RETRY_MS = 60_000;

/** Exactly one of the first three. */
export interface RevocationRequest {
  serial?: string | undefined;
  certificate?: string | undefined;
  service?: string | undefined;
  reason?: string | undefined;
}

export interface Revocations {
  readonly list: RevocationList;
  /** At least 1, and never back. */
  readonly index: number;
  /** Resolves with the entry when it is durable. Throws InvalidArgumentError. */
  revoke(request: RevocationRequest): Promise<RevokedSerial | RevokedService>;
  /**
   * Forgets a node that has joined, and revokes every certificate of its key, in one commit. Throws HeddleError of code
   * `not_found` where no such node has joined.
   */
  revokeNode(node: string): Promise<RevokedNode>;
  /** Lets a service in again, with certificates from now on. Throws HeddleError of code `not_found` where it is not revoked. */
  reinstate(service: string): Promise<RevokedService>;
  onChanged(listener: () => void): () => void;
  close(): void;
}

export interface RevocationsOptions {
  store: Store;
  authority: Authority;
  ledger: LeafLedger;
  /** Of certificates from files, which other CAs have signed. */
  daemonRoots: () => readonly string[];
  clock: Clock;
  log: Logger;
}

export function openRevocations(options: RevocationsOptions): Revocations {
  const { store, authority, ledger, daemonRoots, clock, log } = options;
  let list = readList(store);
  // The first listener: whoever hears of a revocation after it finds that nothing is signed against it.
  const off = store.subscribe(({ changes }) => {
    if (changes.some(isOurs)) list = readList(store);
  });
  const now = () => clock.now();
  const run = <T>(change: (view: View) => { writes: Write[]; result: T }): Promise<T> =>
    store
      .run((view) => {
        const { writes, result } = change(view);
        // The list's index is that of its head: it must not fall where an entry leaves.
        return { writes: [...writes, { table: REVOCATION_HEAD, key: "head", value: {} }], result };
      })
      .then(({ result }) => result);

  const requireRoom = (view: View) => {
    const count = TABLES.reduce((sum, table) => sum + view.list(table).length, 0);
    if (count >= MAX_ENTRIES)
      throw new InvalidArgumentError(
        `${count} certificates, services and nodes are revoked, at most ${MAX_ENTRIES} can be`,
      );
  };
  const put = <T extends RevokedSerial | RevokedService>(table: string, key: string, value: T): Promise<T> =>
    run((view) => {
      if (!view.get(table, key)) requireRoom(view);
      return { writes: [{ table, key, value }], result: value };
    });

  /** A certificate of ours may live until then, as far as is known without it. */
  const longestLife = () => authority.lastLeafEnds(now());

  /** As long as one of another CA may: nobody knows its serials here. */
  const longestOfAny = () => Math.max(longestLife(), ...daemonRoots().map(endOfRoots));

  const revokeSerial = (serial: string, service: string, notAfter: number, Reason: string) => {
    const value = { SerialNumber: serial, Service: service, Reason, RevokedAt: rfc3339(now()) };
    const ExpiresAt = rfc3339(notAfter + CLOCKS_BEHIND_MS);
    return put<RevokedSerial>(REVOKED_SERIALS, serialKey(serial), { ...value, ExpiresAt });
  };

  const revoke: Revocations["revoke"] = async ({ serial, certificate, service, reason = "" }) => {
    const targets = [serial, certificate, service].filter((target) => target !== undefined && target !== "");
    if (targets.length !== 1)
      throw new InvalidArgumentError("want exactly one of SerialNumber, Certificate and Service: what is revoked");
    if (reason.length > MAX_REASON || /[^\x20-\x7e]/.test(reason))
      throw new InvalidArgumentError(`Reason: want at most ${MAX_REASON} printable characters of ASCII`);
    const entry = await (async () => {
      if (service) {
        checkService(service);
        const value = { Service: service, Reason: reason, RevokedAt: rfc3339(now()), Reinstated: false };
        return put<RevokedService>(REVOKED_SERVICES, service, { ...value, ExpiresAt: null });
      }
      if (certificate) {
        const trusted = [...authority.roots().map(({ value }) => value.certPem), ...daemonRoots()];
        const facts = readOurs(certificate, trusted, now());
        return revokeSerial(facts.serial, facts.service, facts.notAfter, reason);
      }
      const wanted = parseSerial(serial as string);
      const issued = ledger.find(wanted);
      return revokeSerial(wanted, issued?.service ?? "", issued?.notAfter ?? longestOfAny(), reason);
    })();
    log.warn("revoked", toFields(entry));
    return entry;
  };

  const revokeNode: Revocations["revokeNode"] = async (node) => {
    const entry = await run<RevokedNode>((view) => {
      const known = view.get<JoinedNodeRecord>(JOINED_NODES, node.toLowerCase());
      if (!known) throw new HeddleError("not_found", `there is no joined node '${node}'`);
      requireRoom(view);
      const { node: Node, keyId: KeyID } = known.value;
      const ExpiresAt = rfc3339(longestLife() + CLOCKS_BEHIND_MS);
      const value: RevokedNode = { Node, KeyID, RevokedAt: rfc3339(now()), ExpiresAt };
      const forgotten = { table: JOINED_NODES, key: known.key };
      return { writes: [forgotten, { table: REVOKED_NODES, key: KeyID, value }], result: value };
    });
    log.warn("revoked a node", { node: entry.Node, expires_at: entry.ExpiresAt });
    return entry;
  };

  const reinstate: Revocations["reinstate"] = async (service) => {
    checkService(service);
    const entry = await run<RevokedService>((view) => {
      const known = view.get<RevokedService>(REVOKED_SERVICES, service)?.value;
      if (!known || known.Reinstated) throw new HeddleError("not_found", `service '${service}' is not revoked`);
      // What was signed until a moment ago stays out: the key that was lost is still lost.
      const ExpiresAt = rfc3339(longestLife() + CLOCKS_BEHIND_MS);
      const value: RevokedService = { ...known, RevokedAt: rfc3339(now()), Reinstated: true, ExpiresAt };
      return { writes: [{ table: REVOKED_SERVICES, key: service, value }], result: value };
    });
    log.warn("a revoked service may have certificates again", toFields(entry));
    return entry;
  };

  const stopPruning = prune({ store, run, clock, log });
  return {
    get list() {
      return list;
    },
    get index() {
      return Math.max(1, store.get(REVOCATION_HEAD, "head")?.modifyIndex ?? 1);
    },
    revoke,
    revokeNode,
    reinstate,
    onChanged: (listener) =>
      store.subscribe(({ changes }) => {
        if (changes.some(isOurs)) listener();
      }),
    close() {
      stopPruning();
      off();
    },
  };
}

const TABLES = [REVOKED_SERIALS, REVOKED_SERVICES, REVOKED_NODES];

const isOurs = ({ table }: { table: string }): boolean => table === REVOCATION_HEAD;

function readList(view: View): RevocationList {
  return createRevocationList({
    Serials: view.list<RevokedSerial>(REVOKED_SERIALS).map(({ value }) => value),
    Services: view.list<RevokedService>(REVOKED_SERVICES).map(({ value }) => value),
    Nodes: view.list<RevokedNode>(REVOKED_NODES).map(({ value }) => value),
  });
}

interface PruneOptions {
  store: Store;
  run: (change: (view: View) => { writes: Write[]; result: number }) => Promise<number>;
  clock: Clock;
  log: Logger;
}

/** Entries leave when their time has come. */
function prune({ store, run, clock, log }: PruneOptions): () => void {
  let timer: Timer | undefined;
  let isClosed = false;
  const all = (view: View): StoredRecord<{ ExpiresAt: string | null }>[] =>
    TABLES.flatMap((table) => view.list<{ ExpiresAt: string | null }>(table));
  const endOf = ({ value }: { value: { ExpiresAt: string | null } }) =>
    value.ExpiresAt === null ? Infinity : Date.parse(value.ExpiresAt);
  const look = () => {
    timer?.cancel();
    if (isClosed) return;
    const next = Math.min(...all(store).map(endOf));
    if (next > clock.now()) {
      if (Number.isFinite(next)) timer = clock.after(next - clock.now(), look);
      return;
    }
    run((view) => {
      const due = all(view).filter((entry) => endOf(entry) <= clock.now());
      return { writes: due.map(({ table, key }) => ({ table, key })), result: due.length };
    }).then(
      (entries) => log.info("forgot revocations of certificates that have expired", { entries }),
      (error: unknown) => {
        log.warn("cannot remove old revocations, trying again", { error: describeError(error) });
        if (!isClosed) timer = clock.after(RETRY_MS, look);
      },
    );
  };
  const off = store.subscribe(({ changes }) => {
    if (changes.some(isOurs)) queueMicrotask(look);
  });
  look();
  return () => {
    isClosed = true;
    off();
    timer?.cancel();
  };
}

function checkService(service: string): void {
  if (isSegment(service) && service.length <= MAX_SERVICE) return;
  throw new InvalidArgumentError(
    `Service '${service.slice(0, 64)}': want a service's name of letters, digits, '.', '-', '_', at most ${MAX_SERVICE} of them`,
  );
}

function parseSerial(text: string): string {
  const digits = serialKey(text);
  if (!/^(?:[0-9a-f]{2}){1,20}$/.test(digits) || !/^[0-9a-fA-F:]+$/.test(text))
    throw new InvalidArgumentError(
      `SerialNumber '${text.slice(0, 64)}': want up to ${MAX_SERIAL_BYTES} bytes in hexadecimal, as in 08:1f:…`,
    );
  return colonHex(Buffer.from(digits, "hex"));
}

/** When the last of a file's certificates ends: milliseconds since the epoch. */
const endOfRoots = (pem: string): number =>
  Math.max(...certificatesToDer(pem).map((certificate) => readCertificate(certificate).notAfter));

/** A service's or a daemon's certificate that one of these roots has signed. */
function readOurs(pem: string, trusted: readonly string[], now: number) {
  const refuse = (why: string): never => {
    throw new InvalidArgumentError(`Certificate: ${why}`);
  };
  const [leaf, ...presented] = (() => {
    try {
      return certificatesToDer(pem);
    } catch (error) {
      return refuse(describeError(error));
    }
  })();
  const facts = (() => {
    try {
      const read = readCertificate(leaf as Buffer);
      return { ...read, id: parseSpiffeId(read.altNames.uris[0] ?? "") };
    } catch (error) {
      return refuse(describeError(error));
    }
  })();
  const chain = verifyChain(leaf as Buffer, presented, createTrustBundle(trusted), now);
  if (!chain.ok) return refuse(`nobody in this mesh trusts it as it is: ${chain.reason}`);
  const { id, serial, notAfter } = facts;
  if (id.kind !== "service" && !toInternalPeer(id)) return refuse("it is of no service, and of no daemon");
  return { serial: colonHex(serial), service: id.kind === "service" ? id.service : "", notAfter };
}

function toFields(entry: RevokedSerial | RevokedService) {
  return {
    serial: "SerialNumber" in entry ? entry.SerialNumber : undefined,
    service: entry.Service,
    reason: entry.Reason,
    expires_at: entry.ExpiresAt ?? undefined,
  };
}
