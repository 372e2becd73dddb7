/**
 * This node's own identity, `spiffe://<trust domain>/agent/client/dc/<dc>/id/<node>`: joined for once, kept on disk, renewed like
 * a leaf, and signed anew when the root changes. The key stays the same: by it the servers know the node when its certificate
 * has expired meanwhile.
 */
import { createPrivateKey } from "node:crypto";
import { createApiClient, internalTls } from "@heddle/api-client";
import {
  backoffMs,
  type Clock,
  createIdentity,
  describeError,
  InvalidArgumentError,
  type LiveIdentity,
  type Logger,
  parseJoinLine,
  sleep,
  UnavailableError,
} from "@heddle/daemon";
import { formatSpiffeId, isSegment } from "@heddle/spiffe";
import {
  certificatesToDer,
  createCsr,
  dateProblem,
  freshRenewalDelayMs,
  generateKey,
  HOST_SKEW_MS,
  keyToPem,
  readCertificate,
  renewalDelayMs,
} from "@heddle/tls";
import type { Roots } from "../leaves.ts";
import { askToJoin, fetchRoot, type Joined, JoinRefusedError, trustDomainOf } from "./ask.ts";
import { readIdentity, type StoredIdentity, writeIdentity } from "./identity-file.ts";

const RETRY_BASE_MS = 250;
const RETRY_MAX_MS = 10_000;
const TELL_EVERY_MS = 15_000;

export interface NodeIdentityOptions {
  dataDir: string;
  node: string;
  datacenter: string;
  /** A line of `heddle token join`; a node that has joined before needs none. */
  line?: string | undefined;
  /** host:port of servers beside the one that the node joined at. */
  servers?: readonly string[];
  /** Ends the waiting for a server that is away. */
  signal?: AbortSignal | undefined;
  clock: Clock;
  log: Logger;
}

export interface NodeIdentity extends LiveIdentity, Disposable {
  /** host:port of the servers that are known: first the one that the node joined at. */
  readonly servers: readonly string[];
  /** Calls the listener with the servers that the mesh has, where they are others than those that were known. */
  onServers(listener: (servers: readonly string[]) => void): void;
  /** Takes the roots over that the servers tell, and has the certificate signed anew where another one is active. */
  rootsChanged(roots: Roots): void;
}

/**
 * Opens the identity of a node that has joined, or joins: waits for the server as long as it is away. Undefined where the node has
 * neither an identity nor a line. Throws JoinRefusedError where the server does not want it, or is not the one that is meant.
 */
export async function openNodeIdentity(options: NodeIdentityOptions): Promise<NodeIdentity | undefined> {
  const { dataDir, node, datacenter, clock, log } = options;
  const line = options.line === undefined ? undefined : parseJoinLine(options.line);
  let stored = readIdentity(dataDir);
  if (stored?.certPem === "" && stored.node !== node) stored = undefined; // that one never joined
  if (!stored && !line) return undefined;
  if (stored && stored.node !== node)
    throw new InvalidArgumentError(
      `the data directory ${dataDir} holds the identity of node '${stored.node}', and this is '${node}': give -node=${stored.node}, or another -data-dir`,
    );
  if (!isSegment(node))
    throw new InvalidArgumentError(`node '${node}' cannot join: its name wants letters, digits, '.', '-', '_'`);

  const store = (next: StoredIdentity) => {
    writeIdentity(dataDir, next);
    stored = next;
  };
  // A full disk costs what a restart would have known, and not the node.
  const keep = (next: StoredIdentity) => {
    stored = next;
    try {
      writeIdentity(dataDir, next);
    } catch (error) {
      log.warn("cannot keep this node's identity on disk", { error: describeError(error) });
    }
  };
  const csrOf = ({ keyPem, trustDomain }: StoredIdentity) =>
    createCsr({
      key: createPrivateKey(keyPem),
      spiffeId: formatSpiffeId({ kind: "agent", trustDomain, datacenter, node }),
    });
  const take = (identity: StoredIdentity, joined: Omit<Joined, "roots">, roots: string[]) => {
    const { certPem, chainPem, rootId, notBefore, notAfter } = joined;
    keep({ ...identity, certPem: certPem + chainPem.join(""), rootId, notBefore, notAfter, roots });
  };
  const isValid = () => stored !== undefined && stored.certPem !== "" && Date.parse(stored.notAfter) > clock.now();
  const serversOf = ({ address, servers = [] }: StoredIdentity): string[] => [
    ...new Set([address, ...(options.servers ?? []), ...servers]),
  ];
  const askWith = async (identity: StoredIdentity): Promise<void> => {
    const ask = { roots: identity.roots, node, csr: csrOf(identity), token: line?.token ?? "" };
    const { address, answer: joined } = await askAny(serversOf(identity), (at) => askToJoin({ address: at, ...ask }));
    take(identity, joined, joined.roots);
    log.info("joined the mesh", { node, server: address, not_after: joined.notAfter });
  };
  const join = async (): Promise<void> => {
    try {
      // By the roots that it has learnt, which are newer than the line's.
      if (stored && stored.certPem !== "") return await askWith(stored);
    } catch (error) {
      if (!line || !(error instanceof JoinRefusedError)) throw error;
      log.warn("the servers do not take this node back by what it holds, joining by the line", {
        error: describeError(error),
      });
    }
    if (!line) throw new JoinRefusedError("this node has begun to join and has no line any more: give -join again");
    const root = await fetchRoot(line);
    const [der] = certificatesToDer(root);
    const early = der && dateProblem(readCertificate(der), clock.now());
    if (early !== undefined) throw new UnavailableError(`cannot join at ${line.address} now: the mesh's root ${early}`);
    const none = { certPem: "", rootId: "", notBefore: "", notAfter: "" };
    const keyPem = stored?.keyPem ?? keyToPem(generateKey());
    const { address } = line;
    const identity = { node, address, trustDomain: trustDomainOf(root), keyPem, roots: [root], ...none };
    // The key is on disk before the server knows it: an agent that dies here comes back as the same node.
    if (!stored?.certPem) store(identity);
    await askWith(identity);
  };
  if (isValid()) {
    if (line) log.info("this node has joined before, its join line is not used", { node });
  } else await untilAnswered(join, options);

  const toIdentity = () => {
    const { certPem, keyPem, roots } = stored as StoredIdentity;
    return { certPem, keyPem, roots };
  };
  const identity = createIdentity(toIdentity());
  const connect = () => {
    const address = serversOf(stored as StoredIdentity).map((at) => `https://${at}`);
    return createApiClient({ address: address.join(","), tls: internalTls(identity, ["server"]), log });
  };
  const known = serversOf(stored as StoredIdentity);
  let tell: (servers: readonly string[]) => void = () => {};
  let server = connect();
  // Whoever starts when that one is away has to know of another.
  const learnServers = async (): Promise<void> => {
    const { body: servers } = await server.get<string[]>("/v1/status/peers");
    const { servers: before = [] } = stored as StoredIdentity;
    if (isClosed || servers.toSorted().join() === before.toSorted().join()) return;
    keep({ ...(stored as StoredIdentity), servers });
    server.close();
    server = connect();
    tell(servers);
  };
  const learn = () =>
    learnServers().catch((error: unknown) =>
      log.debug("cannot ask which servers there are", { error: describeError(error) }),
    );
  let isClosed = false;
  let attempt = 0;
  const renew = async (): Promise<void> => {
    timer.cancel();
    if (isClosed) return;
    try {
      if (isValid()) {
        const body = { csr: csrOf(stored as StoredIdentity) };
        const { body: signed } = await server.post<Omit<Joined, "roots">>("/internal/v1/ca/sign", { body });
        take(stored as StoredIdentity, signed, (stored as StoredIdentity).roots);
      } else await join();
      attempt = 0;
      identity.set(toIdentity());
      log.info("this node's certificate was renewed", { node, not_after: stored?.notAfter });
      timer = renewIn(freshRenewalDelayMs(validityOf(stored as StoredIdentity), { skewMs: HOST_SKEW_MS }));
      await learn();
    } catch (error) {
      const fields = { node, not_after: stored?.notAfter, error: describeError(error) };
      log.warn("cannot renew this node's certificate, trying again", fields);
      timer = renewIn(backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS));
    }
  };
  const renewIn = (ms: number) => clock.after(ms, () => void renew());
  let timer = renewIn(renewalDelayMs(validityOf(stored as StoredIdentity), clock.now()));
  void learn();
  return {
    ...identity,
    servers: known,
    onServers: (listener) => void (tell = listener),
    rootsChanged({ Roots: list, ActiveRootID }) {
      const pems = list.map(({ RootCert }) => RootCert);
      if (stored && stored.roots.join("") !== pems.join("")) {
        keep({ ...stored, roots: pems });
        identity.set(toIdentity());
      }
      if (stored?.rootId !== ActiveRootID) void renew();
    },
    [Symbol.dispose]() {
      isClosed = true;
      timer.cancel();
      server.close();
    },
  };
}

const validityOf = ({ notBefore, notAfter }: StoredIdentity) => ({
  notBefore: Date.parse(notBefore),
  notAfter: Date.parse(notAfter),
});

/** Asks one server after the other, until one answers or refuses: a refusal is that of all. */
async function askAny<T>(
  servers: readonly string[],
  ask: (address: string) => Promise<T>,
): Promise<{ address: string; answer: T }> {
  let why: unknown;
  for (const address of servers) {
    try {
      return { address, answer: await ask(address) };
    } catch (error) {
      if (error instanceof JoinRefusedError) throw error;
      why ??= error;
    }
  }
  throw why;
}

async function untilAnswered(
  join: () => Promise<void>,
  { signal, log }: Pick<NodeIdentityOptions, "log" | "signal">,
): Promise<void> {
  let toldAt = -Infinity;
  for (let attempt = 0; ; attempt++) {
    try {
      return await join();
    } catch (error) {
      if (error instanceof JoinRefusedError) throw error;
      if (performance.now() - toldAt > TELL_EVERY_MS) {
        log.warn("waiting to join the mesh", { error: describeError(error) });
        toldAt = performance.now();
      }
      await sleep(backoffMs(attempt, RETRY_BASE_MS, RETRY_MAX_MS), signal);
    }
  }
}
