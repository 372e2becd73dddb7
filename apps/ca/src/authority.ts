/**
 * The authority: a cluster's trust domain, its roots and their keys, as the store holds them. The first start writes all of
 * it in one commit, so that a crash leaves either a whole authority or none, and there is always exactly one active root.
 */
import { type KeyObject, randomUUID } from "node:crypto";
import { type Clock, HeddleError, InvalidArgumentError, type Logger, UnavailableError } from "@heddle/daemon";
import { clusterTrustDomain } from "@heddle/spiffe";
import type { Store, StoredRecord } from "@heddle/store";
import {
  certificateKeyType,
  createSignerCsr,
  generateSigningKey,
  keyToPem,
  parseSigningKey,
  signingKeyType,
} from "@heddle/tls";
import { type ActiveRoot, idOf, loadActiveRoot } from "./active-root.ts";
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
  REQUEST_KEY,
  ROOTS,
  type ConfigRecord,
  type KeyRecord,
  type RootRecord,
} from "./records.ts";
import { prepareRoot, prepareSigner } from "./rotation.ts";
import { rootWrites, shortenLeaves, switchRoots, switchSigner } from "./switch-roots.ts";
import { type Wanted, type WantedRoot, wantedOf } from "./wanted-root.ts";

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
  /** Has the root sign another intermediate in the place of the one that signs. Throws where the root's key is elsewhere. */
  renewIntermediate(): Promise<void>;
  /** A request for an intermediate, as PEM; its key waits here for the certificate. A new one takes the place of the one before. */
  requestIntermediate(): Promise<string>;
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
    wanted: Wanted,
    given?: Pick<ConfigRecord, "config" | "forceWithoutCrossSigning">,
  ): Promise<void> => {
    const now = clock.now();
    const { id: from } = activeRoot;
    const options = { settings: next, trustDomain, isForced: given?.forceWithoutCrossSigning ?? false, now, log };
    const root = wanted && "root" in wanted ? await prepareRoot(wanted.root, activeRoot, options) : undefined;
    const signer =
      wanted && "signer" in wanted
        ? { intermediate: await prepareSigner(wanted.signer, activeRoot, options) }
        : undefined;
    await store.run((view) => {
      const active = view.list<RootRecord>(ROOTS).find((r) => r.value.isActive);
      if (active?.key !== from)
        throw new HeddleError("conflict", `the root was rotated by another CA meanwhile: it is ${active?.key} now`);
      const value = { ...view.get<ConfigRecord>(CONFIG, CONFIG_KEY)?.value, ...given };
      const times = { now, leafTtlMs: settings.leafTtlMs, nextLeafTtlMs: next.leafTtlMs };
      const roots = root ? switchRoots(view, root, times, vault) : shortenLeaves(view, times);
      if (signer) roots.push(...switchSigner(view, signer.intermediate, vault));
      if (settings.intermediateCert !== next.intermediateCert)
        roots.push({ table: KEYS, key: REQUEST_KEY, value: undefined });
      return { writes: [...(given ? [{ table: CONFIG, key: CONFIG_KEY, value }] : []), ...roots], result: undefined };
    });
    settings = next;
    if (given)
      log.info("CA configuration changed", { leaf_ttl_ms: next.leafTtlMs, csr_max_per_second: next.csrMaxPerSecond });
    if (root) log.info("CA root rotated", { from, to: root.id, cross_signed: root.isCrossSigned });
    if (signer)
      log.info("another certificate signs for the CA's root", { root: from, id: signer.intermediate?.id ?? from });
  };

  const configure: Authority["configure"] = async (given, forceWithoutCrossSigning) => {
    const next = readSettings(given ?? {});
    const unknown = unknownKeys(given ?? {});
    if (unknown.length > 0)
      log.warn("the CA configuration has keys that mean nothing here", { keys: unknown.join(", ") });
    const { id, certPem, rootSigner, intermediateId } = activeRoot;
    const wanted = wantedOf(next, {
      id,
      intermediateId,
      key: rootSigner?.key,
      keyType: certificateKeyType(certPem),
      asked: settings.keyType,
      askedIntermediate: settings.intermediateSigns,
      requestKey,
    });
    const config = given && withoutPrivateKey(given);
    await change(next, wanted, { config, forceWithoutCrossSigning });
  };

  const requestKey = () => {
    const record = store.get<KeyRecord>(KEYS, REQUEST_KEY);
    return record && parseSigningKey(vault.read(REQUEST_KEY, record.value));
  };

  const requestIntermediate = async (): Promise<string> => {
    const key = await generateSigningKey(settings.keyType);
    const value = vault.toRecord(REQUEST_KEY, keyToPem(key)) satisfies KeyRecord;
    await store.run(() => ({ writes: [{ table: KEYS, key: REQUEST_KEY, value }], result: undefined }));
    log.info("made a key and a request for an intermediate certificate");
    return createSignerCsr({ key, trustDomain });
  };

  const renewRoot: Authority["renewRoot"] = async () => {
    const { rootSigner, origin } = activeRoot;
    if (!rootSigner) throw new HeddleError("conflict", "the root's key is elsewhere: its operator replaces it");
    const { key } = rootSigner;
    await change(settings, { root: origin === "key" ? { key } : { type: signingKeyType(key) } });
  };

  const rollBack = async (): Promise<string> => {
    const [newest] = store
      .list<RootRecord>(ROOTS)
      .filter(({ value }) => !value.isActive)
      .toSorted((a, b) => (b.value.rotatedOutAt ?? 0) - (a.value.rotatedOutAt ?? 0));
    if (!newest)
      throw new HeddleError("conflict", "there is no root to go back to: the active one is the only one in the list");
    const { certPem, intermediatePem, origin = "made", config = null } = newest.value;
    const keyOf = (id: string): KeyObject =>
      parseSigningKey(vault.read(id, store.get<KeyRecord>(KEYS, id)?.value ?? {}));
    const root: WantedRoot =
      origin === "offline" && intermediatePem !== undefined
        ? { certPem, intermediatePem, intermediateKey: keyOf(idOf(intermediatePem)) }
        : { key: keyOf(newest.key), certPem, origin };
    await change(readSettings(config ?? {}), { root }, { config, forceWithoutCrossSigning: false });
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
    renewIntermediate: () => inTurn(() => change(settings, { signer: { isIntermediate: true } })),
    requestIntermediate: () => inTurn(requestIntermediate),
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
  const { root: wanted } = wantedOf(settings) as { root: WantedRoot };
  const root = await prepareRoot(wanted, undefined, { settings, trustDomain, isForced: false, now: clock.now(), log });
  const value: ConfigRecord = {
    clusterId: clusterId.toLowerCase(),
    provider: "consul",
    config: withoutPrivateKey(config),
    forceWithoutCrossSigning: false,
  };
  const { result: isOurs } = await store.run((view) => {
    // Another CA that starts on the same store may have been faster.
    if (view.get(CONFIG, CONFIG_KEY)) return { writes: [], result: false };
    return { writes: [{ table: CONFIG, key: CONFIG_KEY, value }, ...rootWrites(root, vault)], result: true };
  });
  if (isOurs) log.info("made a new root certificate", { root: root.id, trust_domain: trustDomain });
}
