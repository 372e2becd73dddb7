/** The CA as a value: its authority, its issuer and its routes over one store, to be mounted on any listener. */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type ApiTable,
  type Clock,
  type Followable,
  formatDuration,
  type Health,
  type LiveIdentity,
  type Logger,
  type RevokedCallers,
  systemClock,
} from "@heddle/daemon";
import type { Cluster, Store } from "@heddle/store";
import { daemonRevocable, type Validity } from "@heddle/tls";
import type { Registry } from "prom-client";
import { openAuthority, type Authority } from "./authority.ts";
import { createIssuer, type Issuer } from "./issuer.ts";
import { createLeafLedger } from "./leaf-ledger.ts";
import { createCaMetrics, registerRevocations, registerRootExpiry } from "./metrics.ts";
import type { ProviderConfig } from "./provider-config.ts";
import type { Provider } from "./records.ts";
import { createJoining, type Joining, noJoining } from "./join/joining.ts";
import { configurationTable } from "./routes/configuration.ts";
import { openRevocations, type Revocations } from "./revocations.ts";
import { joinTable } from "./routes/join.ts";
import { rfc3339 } from "./rfc3339.ts";
import { REVOCATIONS_PATH, revocationsRead, revocationsTable } from "./routes/revocations.ts";
import { rotationsTable } from "./routes/rotations.ts";
import { ROOTS_PATH, type RootsFollowers, rootsRead, rootsTable } from "./routes/roots.ts";
import { createProgress } from "./progress.ts";
import { retireRoots } from "./retirement.ts";
import { watchRotations } from "./rotation-watch.ts";
import { progressRoute } from "./routes/progress.ts";
import { watchRootLife } from "./root-life.ts";
import { type RunsOn, signRoute } from "./routes/sign.ts";
import { createServerIdentity } from "./server-identity.ts";
import { statusTable } from "./routes/status.ts";

export interface CaOptions {
  store: Store;
  /** The CAs that share the store; alone by default. What has its time is done by the one that leads. */
  cluster?: Cluster;
  datacenter: string;
  /** UUID of a new cluster; a random one by default. First start only. */
  clusterId?: string | undefined;
  /** An agent's `connect.ca_config`, over Consul's defaults. First start only. */
  initialConfig?: ProviderConfig | undefined;
  /** Who signs; the CA itself by default. First start only. */
  initialProvider?: Provider | undefined;
  /** Encrypt the roots' keys on disk (`readEncryptionKeys`). */
  encryptionKeys?: readonly Buffer[] | undefined;
  /** Roots by which daemons know each other that have their certificates from files: those can be revoked here, too. */
  daemonRoots?: () => readonly string[];
  /** Which services are on a node: its agent gets certificates for no others. Without it, for none. */
  runsOn?: RunsOn;
  /** Where nodes may join by a token: the address that they are told, and whether a node is alive. */
  joining?: { address: string; isAlive: (node: string) => boolean } | undefined;
  /** Tells the other CAs what an agent has told this one, on a path of their internal API. */
  tellOthers?: (path: string, body: unknown) => void;
  registry: Registry;
  clock?: Clock;
  log: Logger;
}

export interface Ca extends AsyncDisposable {
  /** The rows of the public API that the CA answers. */
  readonly table: ApiTable;
  /** What can be followed of it on the change stream, by path. */
  readonly followable: Readonly<Record<string, Followable>>;
  /** Answers `/internal/v1/ca/…`; false where the path is another. */
  readonly internal: (req: IncomingMessage, res: ServerResponse) => boolean;
  readonly authority: Authority;
  readonly issuer: Issuer;
  readonly revocations: Revocations;
  /** For the internal listener: nodes and certificates that were revoked come to nothing there. */
  readonly revokedCallers: RevokedCallers;
  readonly joining: Joining | undefined;
  /** A certificate for the server whose process this is; the caller disposes of it. */
  serverIdentity(): Promise<LiveIdentity & Disposable>;
  health(): Record<string, Health>;
  close(): Promise<void>;
}

/** Opens the CA in a store, founding the cluster there at the first start. Closing it closes the store. */
export async function createCa(options: CaOptions): Promise<Ca> {
  const { store, cluster, datacenter, registry, log } = options;
  const clock = options.clock ?? systemClock;
  const authority = await openAuthority({
    store,
    clusterId: options.clusterId,
    initialConfig: options.initialConfig,
    initialProvider: options.initialProvider,
    encryptionKeys: options.encryptionKeys,
    clock,
    log,
  });
  const ledger = createLeafLedger();
  const followers: RootsFollowers = new Set();
  const { daemonRoots = () => [] } = options;
  const revocations = openRevocations({ store, authority, ledger, daemonRoots, clock, log });
  const metrics = createCaMetrics(registry);
  const issuer = createIssuer({ authority, datacenter, metrics, ledger, revocations, clock, log });
  registerRevocations(registry, revocations);
  const { address, isAlive } = options.joining ?? {};
  const joining = isAlive && createJoining({ store, authority, issuer, isAlive, clock, log });
  registerRootExpiry(registry, authority, clock);
  const { id, validity } = authority.activeRoot;
  log.info("CA initialized", {
    provider: authority.config().value.provider,
    root: id,
    trust_domain: authority.trustDomain,
    not_after: rfc3339(validity.notAfter),
  });
  const lead = {
    isLeader: () => cluster?.isLeader ?? true,
    onLeader: (listener: () => void) => cluster?.onChange(listener),
  };
  const progress = createProgress({ clock, log });
  const stops = [
    retireRoots({ authority, store, progress, lead, clock, log }),
    watchRootLife({ authority, lead, clock, log }),
    watchRotations({ authority, progress, lead, clock, log }),
  ];
  const answersSign = signRoute({ issuer, joining, runsOn: options.runsOn ?? (() => false), log });
  const answersProgress = progressRoute({ progress, clock, tellOthers: options.tellOthers ?? (() => {}) });
  const close = () => {
    for (const stop of stops) stop();
    revocations.close();
    authority.close();
    return store.close();
  };
  return {
    authority,
    issuer,
    revocations,
    revokedCallers: {
      read: daemonRevocable,
      check: (facts) => revocations.list.check(facts),
      onChanged: (listener) => revocations.onChanged(listener),
    },
    joining,
    followable: { [ROOTS_PATH]: rootsRead(authority), [REVOCATIONS_PATH]: revocationsRead(revocations) },
    serverIdentity: () => createServerIdentity({ authority, issuer, datacenter, clock, log }),
    table: {
      ...rootsTable(authority, followers),
      ...configurationTable(authority),
      ...revocationsTable({ authority, revocations, clock }),
      ...rotationsTable(authority),
      ...statusTable({ authority, ledger, progress, followers, clock }),
      ...joinTable({ store, authority, revocations, address: () => address ?? noJoining(), clock, log }),
    },
    internal: (req, res) => answersSign(req, res) || answersProgress(req, res),
    health: () => ({ root: rootHealth(authority, clock.now()) }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function rootHealth({ activeRoot: { id, validity, intermediateId, signerValidity } }: Authority, now: number): Health {
  const told = (what: string, { notBefore, notAfter }: Validity) =>
    now >= notBefore && now < notAfter
      ? `${what} expires in ${formatDuration(Math.floor((notAfter - now) / 3_600_000) * 3_600_000)}`
      : `${what} is not valid now`;
  const details = [told(`root ${id}`, validity)];
  if (intermediateId !== undefined) details.push(told(`intermediate ${intermediateId}`, signerValidity));
  const isValid = [validity, signerValidity].every(({ notBefore, notAfter }) => now >= notBefore && now < notAfter);
  return { started: true, live: true, ready: isValid, details: details.join(", ") };
}
