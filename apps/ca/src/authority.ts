/**
 * The authority: a cluster's trust domain, its roots and their keys, as the store holds them. The first start writes all of
 * it in one commit, so that a crash leaves either a whole authority or none, and there is always exactly one active root.
 */
import { randomUUID } from "node:crypto";
import { type Clock, HeddleError, InvalidArgumentError, type Logger, UnavailableError } from "@heddle/daemon";
import { clusterTrustDomain } from "@heddle/spiffe";
import type { Store, StoredRecord } from "@heddle/store";
import { createSigner, parseSigningKey, type Signer, signingKeyType } from "@heddle/tls";
import { createKeyVault, type KeyVault, sealStored } from "./key-vault.ts";
import {
  canonicalKeys,
  DEFAULT_PROVIDER_CONFIG,
  readSettings,
  unknownKeys,
  withoutPrivateKey,
  type CaSettings,
  type ProviderConfig,
} from "./provider-config.ts";
import {
  CONFIG,
  CONFIG_KEY,
  KEYS,
  ROOTS,
  type ConfigRecord,
  type KeyRecord,
  type RootOrigin,
  type RootRecord,
} from "./records.ts";
import { prepareRoot } from "./rotation.ts";
import { shortenLeaves, switchRoots } from "./switch-roots.ts";
import { wantedRoot, type WantedRoot } from "./wanted-root.ts";

export interface AuthorityOptions {
  store: Store;
  /** UUID of a new cluster; a random one by default. */
  clusterId?: string | undefined;
  /** Over Consul's defaults, at the first start. Consul's names or an agent file's (`leaf_cert_ttl`). */
  initialConfig?: ProviderConfig | undefined;
  /** Encrypt the roots' keys on disk: the first does, the others still open. */
  encryptionKeys?: readonly Buffer[] | undefined;
  clock: Clock;
  log: Logger;
}

/** What signs now. */
export interface ActiveRoot {
  id: string;
  signer: Signer;
  /** Certificates that lead from it to older roots, as PEM; leaves are sent with them. */
  intermediates: readonly string[];
  origin: RootOrigin;
}

export interface Authority {
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly activeRoot: ActiveRoot;
  readonly settings: CaSettings;
  roots(): StoredRecord<RootRecord>[];
  config(): StoredRecord<ConfigRecord>;
  /**
   * Checks and stores a configuration, and rotates the root where it asks for another one; resolves when it is durable.
   * Throws Consul's refusals, and then nothing has changed.
   */
  configure(config: ProviderConfig | null, forceWithoutCrossSigning: boolean): Promise<void>;
  /** Replaces the active root by another of its type of key, or of its offered key. Throws where that cannot be. */
  renewRoot(): Promise<void>;
  /**
   * Has the root that was replaced last sign again, with the configuration of its time; resolves with its id. Throws where no
   * old root is left, and where proxies could not follow.
   */
  rollBack(): Promise<string>;
  /** Calls back after every commit that changed the roots. */
  onRootsChanged(listener: () => void): () => void;
  /** When the last leaf has expired that may have been signed until `now`: milliseconds since the epoch. */
  lastLeafEnds(now: number): number;
  /** Stops following the store. */
  close(): void;
}

/** Opens the authority in a store, or founds it there. Throws UnavailableError where what is stored does not fit together. */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { store, clock, log, encryptionKeys = [] } = options;
  const vault = createKeyVault(encryptionKeys);
  if (!store.get(CONFIG, CONFIG_KEY)) await found(options, vault);
  await sealStored(store, encryptionKeys, log);
  let activeRoot = loadActiveRoot(store, vault);
  const config = () => store.get<ConfigRecord>(CONFIG, CONFIG_KEY) as StoredRecord<ConfigRecord>;
  let settings = readSettings(config().value.config ?? {});
  const { clusterId } = config().value;
  const trustDomain = clusterTrustDomain(clusterId);
  if (activeRoot.signer.trustDomain !== trustDomain)
    throw new UnavailableError(
      `the active root is of trust domain '${activeRoot.signer.trustDomain}', the cluster of '${trustDomain}'`,
    );
  // The first listener: whoever hears of new roots after it finds that they sign already.
  const stopFollowing = store.subscribe(({ changes }) => {
    if (changes.some(({ table }) => table === ROOTS)) activeRoot = loadActiveRoot(store, vault, activeRoot);
    // Another CA on the same store may have changed it.
    if (changes.some(({ table }) => table === CONFIG)) settings = readSettings(config().value.config ?? {});
  });

  const change = async (
    next: CaSettings,
    wanted: WantedRoot | undefined,
    given?: Pick<ConfigRecord, "config" | "forceWithoutCrossSigning">,
  ): Promise<void> => {
    const now = clock.now();
    const { id: from, signer: old } = activeRoot;
    const isForced = given?.forceWithoutCrossSigning ?? false;
    const root = wanted && (await prepareRoot({ wanted, settings: next, trustDomain, old, isForced, now, log }));
    await store.run((view) => {
      const active = view.list<RootRecord>(ROOTS).find((r) => r.value.isActive);
      if (active?.key !== from)
        throw new HeddleError("conflict", `the root was rotated by another CA meanwhile: it is ${active?.key} now`);
      const value = { ...view.get<ConfigRecord>(CONFIG, CONFIG_KEY)?.value, ...given };
      const times = { now, leafTtlMs: settings.leafTtlMs, nextLeafTtlMs: next.leafTtlMs };
      const roots = root ? switchRoots(view, root, times, vault) : shortenLeaves(view, times);
      return { writes: [...(given ? [{ table: CONFIG, key: CONFIG_KEY, value }] : []), ...roots], result: undefined };
    });
    settings = next;
    if (given)
      log.info("CA configuration changed", { leaf_ttl_ms: next.leafTtlMs, csr_max_per_second: next.csrMaxPerSecond });
    if (root) log.info("CA root rotated", { from, to: root.id, cross_signed: root.crossPem !== undefined });
  };

  const configure: Authority["configure"] = async (given, forceWithoutCrossSigning) => {
    const next = readSettings(given ?? {});
    const unknown = unknownKeys(given ?? {});
    if (unknown.length > 0)
      log.warn("the CA configuration has keys that mean nothing here", { keys: unknown.join(", ") });
    const { id, signer } = activeRoot;
    const present = { id, key: signer.key, keyType: signingKeyType(signer.key), asked: settings.keyType };
    const config = given && withoutPrivateKey(given);
    await change(next, wantedRoot(next, present), { config, forceWithoutCrossSigning });
  };

  const renewRoot: Authority["renewRoot"] = async () => {
    const { key } = activeRoot.signer;
    await change(settings, activeRoot.origin === "key" ? { key } : { type: signingKeyType(key) });
  };

  const rollBack = async (): Promise<string> => {
    const [newest] = store
      .list<RootRecord>(ROOTS)
      .filter(({ value }) => !value.isActive)
      .toSorted((a, b) => (b.value.rotatedOutAt ?? 0) - (a.value.rotatedOutAt ?? 0));
    const stored = newest && store.get<KeyRecord>(KEYS, newest.key);
    if (!newest || !stored)
      throw new HeddleError("conflict", "there is no root to go back to: the active one is the only one in the list");
    const { certPem, origin = "made", config = null } = newest.value;
    const key = parseSigningKey(vault.read(newest.key, stored.value));
    const given = { config, forceWithoutCrossSigning: false };
    await change(readSettings(config ?? {}), { key, certPem, origin }, given);
    return newest.key;
  };

  // One after another: each is decided on what the one before has left.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
  return {
    clusterId,
    trustDomain,
    get activeRoot() {
      return activeRoot;
    },
    get settings() {
      return settings;
    },
    roots: () => store.list<RootRecord>(ROOTS),
    config,
    configure: (given, force) => inTurn(() => configure(given, force)),
    renewRoot: () => inTurn(renewRoot),
    rollBack: () => inTurn(rollBack),
    onRootsChanged: (listener) =>
      store.subscribe(({ changes }) => {
        if (changes.some((change) => change.table === ROOTS)) listener();
      }),
    lastLeafEnds: (now) =>
      Math.max(
        now + settings.leafTtlMs,
        ...store.list<KeyRecord>(KEYS).map(({ value }) => value.leavesUntil ?? 0),
        ...store.list<RootRecord>(ROOTS).map(({ value }) => value.removeAt ?? 0),
      ),
    close: stopFollowing,
  };
}

async function found(
  { store, clusterId = randomUUID(), initialConfig = {}, clock, log }: AuthorityOptions,
  vault: KeyVault,
): Promise<void> {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(clusterId))
    throw new InvalidArgumentError(`invalid cluster id '${clusterId}': want a UUID`);
  const config = { ...DEFAULT_PROVIDER_CONFIG, ...canonicalKeys(initialConfig) };
  const settings = readSettings(config);
  const trustDomain = clusterTrustDomain(clusterId);
  const wanted = wantedRoot(settings) as WantedRoot;
  const now = clock.now();
  const { id, certPem, keyPem, origin } = await prepareRoot({
    wanted,
    settings,
    trustDomain,
    isForced: false,
    now,
    log,
  });
  const root: RootRecord = { certPem, intermediates: [], isActive: true, origin };
  const value: ConfigRecord = {
    clusterId: clusterId.toLowerCase(),
    provider: "consul",
    config: withoutPrivateKey(config),
    forceWithoutCrossSigning: false,
  };
  const { result: isOurs } = await store.run((view) => {
    // Another CA that starts on the same store may have been faster.
    if (view.get(CONFIG, CONFIG_KEY)) return { writes: [], result: false };
    return {
      writes: [
        { table: CONFIG, key: CONFIG_KEY, value },
        { table: ROOTS, key: id, value: root },
        { table: KEYS, key: id, value: vault.toRecord(id, keyPem) satisfies KeyRecord },
      ],
      result: true,
    };
  });
  if (isOurs) log.info("made a new root certificate", { root: id, trust_domain: trustDomain });
}

function loadActiveRoot(store: Store, vault: KeyVault, known?: ActiveRoot): ActiveRoot {
  const active = store.list<RootRecord>(ROOTS).filter((record) => record.value.isActive);
  const [root] = active;
  if (!root || active.length !== 1)
    throw new UnavailableError(`the CA's store holds ${active.length} active roots instead of one`);
  if (root.key === known?.id && root.value.intermediates.join("") === known.intermediates.join("")) return known;
  const key = store.get<KeyRecord>(KEYS, root.key);
  if (!key) throw new UnavailableError(`the CA's store holds no key for its active root ${root.key}`);
  const keyPem = vault.read(root.key, key.value);
  try {
    const { certPem, intermediates, origin = "made" } = root.value;
    return { id: root.key, signer: createSigner({ certPem, keyPem }), intermediates, origin };
  } catch (cause) {
    throw new HeddleError("unavailable", `the CA's active root ${root.key} cannot sign`, { cause });
  }
}
