/**
 * Certificates for this node's services: the agent makes the key, asks the CA to sign, keeps the leaf and renews it at a
 * random point between 60 % and 75 % of its life, or at once when the active root changes.
 */
import {
  backoffMs,
  type Clock,
  describeError,
  InvalidArgumentError,
  type Logger,
  PermissionDeniedError,
  type Timer,
  UnavailableError,
} from "@heddle/daemon";
import { serviceSpiffeId } from "@heddle/spiffe";
import {
  createCsr,
  daysLeft,
  EXPIRED_STAGE,
  expiryStage,
  freshRenewalDelayMs,
  generateKey,
  keyToPem,
  type RevocationList,
  URGENT_STAGE,
} from "@heddle/tls";
import { Watched } from "./watched.ts";

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;
const RETRY_ENDED_MS = 5_000; // nobody can call the service, and thousands may be waiting
const MAX_LEAVES = 10_000; // a node's services and those that its proxies speak for
const IDLE_MS = 6 * 60 * 60_000; // a leaf that nobody asked for is not renewed for ever

/** The JSON of /v1/agent/connect/ca/leaf/:service. */
export interface Leaf {
  SerialNumber: string;
  CertPEM: string;
  PrivateKeyPEM: string;
  Service: string;
  ServiceURI: string;
  ValidAfter: string;
  ValidBefore: string;
  CreateIndex: number;
  ModifyIndex: number;
}

/** The JSON of /v1/connect/ca/roots. */
export interface Roots {
  ActiveRootID: string;
  TrustDomain: string;
  Roots: { ID: string; Name: string; RootCert: string; IntermediateCerts: string[] | null; Active: boolean }[];
}

/** What the CA answers to a request. */
export interface SignedLeaf {
  rootId: string;
  certPem: string;
  chainPem: string[];
  serial: string;
  notBefore: string;
  notAfter: string;
}

export interface LeafExpiry {
  leaves: number;
  daysLeft: number | undefined;
  /** Services whose leaf has no more than its last hours (2 % of its life). */
  urgent: string[];
  /** Of each service whose leaf is in use: when that ends, in milliseconds since the epoch. */
  ends: Map<string, number>;
}

export interface LeavesOptions {
  /** Has a request for a service signed by the CA: over HTTP, or in a composition by a call. */
  sign: (csrPem: string, service: string) => Promise<SignedLeaf>;
  roots: Watched<Roots>;
  revocations: Watched<RevocationList>;
  datacenter: string;
  clock: Clock;
  log: Logger;
}

interface Entry {
  leaf: Watched<Leaf>;
  /** How close to its end it was when that was last told. */
  stage: number;
  rootId: string;
  renewal?: Timer;
  signing?: Promise<void>;
  askedAt: number;
  attempt: number;
}

export class Leaves {
  readonly #options: LeavesOptions;
  readonly #entries = new Map<string, Entry>();
  #index = 0;

  constructor(options: LeavesOptions) {
    this.#options = options;
  }

  /** The leaf of a service: signed on first use. Throws what the CA refuses, UnavailableError where it is away. */
  async get(service: string): Promise<Watched<Leaf>> {
    const blocked = this.#blocked(service);
    if (blocked !== undefined) throw new PermissionDeniedError(`certificate refused: ${blocked}`);
    let entry = this.#entries.get(service);
    if (entry) {
      this.#entries.delete(service);
    } else {
      if (this.#entries.size >= MAX_LEAVES) this.#dropOne();
      entry = { leaf: new Watched(), stage: 0, rootId: "", askedAt: 0, attempt: 0 };
    }
    this.#entries.set(service, entry); // to the end: the first is the one that was asked for the longest ago
    entry.askedAt = this.#options.clock.now();
    if (entry.leaf.value === undefined || this.#isExpired(entry.leaf.value)) {
      try {
        await this.#sign(service, entry);
      } catch (error) {
        if (entry.leaf.value === undefined && !entry.leaf.isAwaited) this.#entries.delete(service);
        throw error;
      }
    }
    return entry.leaf;
  }

  /**
   * The CA has told its roots: signs every leaf anew that the active one has not signed, and those that could not be renewed while it was
   * away. Those that somebody waits on first, and of these the one that ends first.
   */
  async rootsChanged(): Promise<void> {
    const ends = ({ leaf }: Entry) => (leaf.value ? Date.parse(leaf.value.ValidBefore) : 0);
    const all = [...this.#entries].toSorted(
      ([, a], [, b]) => Number(b.leaf.isAwaited) - Number(a.leaf.isAwaited) || ends(a) - ends(b),
    );
    for (const [service, entry] of all)
      if (entry.leaf.value && (entry.attempt > 0 || this.#isOfOldRoot(entry))) await this.#renew(service, entry);
  }

  /** Leaves in use, and those of them that a root has signed. */
  renewed(root: string): { leaves: number; renewed: number } {
    const count = { leaves: 0, renewed: 0 };
    for (const { leaf, rootId } of this.#entries.values()) {
      if (!leaf.value || !leaf.isAwaited) continue;
      count.leaves++;
      // A proxy has it when it waits for the one after.
      if (rootId === root && leaf.waitingForNext === leaf.waiting) count.renewed++;
    }
    return count;
  }

  /** Drops every leaf that was revoked, and has others signed in their place where that is allowed. */
  async revocationsChanged(): Promise<void> {
    const { log } = this.#options;
    const wanting: [string, Entry][] = [];
    for (const [service, entry] of this.#entries) {
      const reason = entry.leaf.value && this.#revoked(entry.leaf.value);
      if (reason !== undefined) {
        log.warn("a leaf was revoked and is given to nobody any more", { service, reason });
        entry.leaf.clear();
        entry.renewal?.cancel();
      }
      if (entry.leaf.value === undefined) wanting.push([service, entry]);
    }
    for (const [service, entry] of wanting) await this.#renew(service, entry);
  }

  #blocked(service: string): string | undefined {
    return this.#options.revocations.value?.blocked(service);
  }

  #revoked({ SerialNumber, Service, ValidAfter }: Leaf): string | undefined {
    const certificate = { serial: SerialNumber, service: Service, notBefore: Date.parse(ValidAfter) };
    return this.#options.revocations.value?.check(certificate);
  }

  #isOfOldRoot(entry: Entry): boolean {
    return entry.rootId !== this.#options.roots.value?.ActiveRootID;
  }

  /** Leaves, how many of those in use are close to their end, and days left of the first that ends. Tells each stage of each once. */
  expiry(): LeafExpiry {
    const { clock, log } = this.#options;
    const now = clock.now();
    const found: LeafExpiry = { leaves: this.#entries.size, daysLeft: undefined, urgent: [], ends: new Map() };
    for (const [service, entry] of this.#entries) {
      const leaf = entry.leaf.value;
      if (!leaf || !(entry.leaf.isAwaited || now - entry.askedAt < IDLE_MS)) continue;
      const validity = { notBefore: Date.parse(leaf.ValidAfter), notAfter: Date.parse(leaf.ValidBefore) };
      const days = daysLeft(validity, now);
      found.ends.set(service, validity.notAfter);
      found.daysLeft = Math.min(found.daysLeft ?? days, days);
      const stage = expiryStage(validity, now);
      if (stage >= URGENT_STAGE) found.urgent.push(service);
      if (stage > entry.stage) {
        const fields = { service, days_left: days, valid_before: leaf.ValidBefore };
        if (stage === EXPIRED_STAGE) log.error("a leaf has expired: its service is refused by its peers", fields);
        else log.warn("a leaf is close to its end and could not be renewed", fields);
      }
      entry.stage = stage;
    }
    return found;
  }

  close(): void {
    for (const { renewal } of this.#entries.values()) renewal?.cancel();
  }

  /** Concurrent askers share one signature. */
  #sign(service: string, entry: Entry): Promise<void> {
    entry.signing ??= this.#signNow(service, entry).finally(() => delete entry.signing);
    return entry.signing;
  }

  async #signNow(service: string, entry: Entry): Promise<void> {
    const { sign, roots, datacenter, clock, log } = this.#options;
    if (roots.value === undefined) await roots.changed(0, 5_000);
    const trusted = roots.value;
    if (trusted === undefined) throw new Error("the CA has not answered yet");
    const key = generateKey();
    const uri = serviceSpiffeId({ trustDomain: trusted.TrustDomain, namespace: "default", datacenter, service });
    const signed = await sign(createCsr({ key, spiffeId: uri }), service);
    const index = Math.max(this.#index + 1, Math.floor(clock.now() / 1000));
    const leaf: Leaf = {
      SerialNumber: signed.serial,
      CertPEM: signed.certPem + signed.chainPem.join(""),
      PrivateKeyPEM: keyToPem(key),
      Service: service,
      ServiceURI: uri,
      ValidAfter: signed.notBefore,
      ValidBefore: signed.notAfter,
      CreateIndex: entry.leaf.value?.CreateIndex ?? index,
      ModifyIndex: index,
    };
    const revoked = this.#revoked(leaf);
    if (revoked !== undefined) throw new UnavailableError(`revoked while it was signed: ${revoked}`);
    this.#index = index;
    entry.rootId = signed.rootId;
    entry.attempt = 0;
    entry.leaf.set(leaf, index);
    log.debug("leaf signed", { service, serial: signed.serial, valid_before: signed.notAfter });
    // The root was replaced while the CA had the request: once more, with the new one.
    if (roots.value !== trusted && this.#isOfOldRoot(entry)) this.#renewIn(0, service, entry);
    else this.#renewIn(this.#renewalDelay(entry), service, entry);
  }

  #renewIn(delayMs: number, service: string, entry: Entry): void {
    entry.renewal?.cancel();
    // Whole seconds of few lengths: Node keeps a list for each length, and thousands of lists cost more than a signature.
    const wholeMs = delayMs > 60_000 ? Math.ceil(delayMs / 1_000) * 1_000 : delayMs;
    entry.renewal = this.#options.clock.after(wholeMs, () => void this.#renew(service, entry));
  }

  #renewalDelay(entry: Entry): number {
    const { ValidAfter, ValidBefore } = entry.leaf.value as Leaf;
    const validity = { notBefore: Date.parse(ValidAfter), notAfter: Date.parse(ValidBefore) };
    return freshRenewalDelayMs(validity);
  }

  async #renew(service: string, entry: Entry): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#entries.get(service) !== entry) return; // it made room for another
    const { value } = entry.leaf;
    if (!entry.leaf.isAwaited && clock.now() - entry.askedAt > IDLE_MS && (!value || this.#isExpired(value))) {
      this.#entries.delete(service);
      return;
    }
    if (this.#blocked(service) !== undefined) return; // until the list changes
    try {
      await this.#sign(service, entry);
    } catch (error) {
      // The closer the end, the sooner again: a leaf of a minute has no half minute to wait.
      const leftMs = entry.leaf.value ? Date.parse(entry.leaf.value.ValidBefore) - clock.now() : 0;
      const maxMs = Math.min(RETRY_MAX_MS, Math.max(leftMs > 0 ? RETRY_BASE_MS : RETRY_ENDED_MS, leftMs / 8));
      const retryMs = backoffMs(entry.attempt++, RETRY_BASE_MS, maxMs);
      log.warn("cannot renew a leaf, trying again", {
        service,
        valid_before: entry.leaf.value?.ValidBefore,
        error: describeError(error),
      });
      this.#renewIn(retryMs, service, entry);
    }
  }

  #isExpired(leaf: Leaf): boolean {
    return Date.parse(leaf.ValidBefore) <= this.#options.clock.now();
  }

  /** Makes room: of the leaves that nobody waits on, the one that was asked for the longest ago goes, and comes anew when asked for. */
  #dropOne(): void {
    for (const [service, entry] of this.#entries) {
      if (entry.leaf.isAwaited || entry.signing) continue;
      entry.renewal?.cancel();
      this.#entries.delete(service);
      return;
    }
    throw new InvalidArgumentError(`too many leaves on one node: the limit is ${MAX_LEAVES}, and all are watched`);
  }
}
