/**
 * The authority: a cluster's trust domain, its roots and their keys, as the store holds them. The first start writes all of
 * it in one commit, so that a crash leaves either a whole authority or none, and there is always exactly one active root.
 */
import { type Clock, HeddleError, type Logger, UnavailableError } from "@heddle/daemon";
import { clusterTrustDomain } from "@heddle/spiffe";
import type { Store, StoredRecord } from "@heddle/store";
import { certificateKeyType, type CsrFacts, type IssuedLeaf, issueLeafAsync, signingKeyType } from "@heddle/tls";
import { type ActiveRoot, idOf, loadActiveRoot } from "./active-root.ts";
import { formerRoot } from "./former-root.ts";
import { found } from "./founding.ts";
import { requestedKey, requestIntermediate } from "./intermediate-request.ts";
import { createKeyVault, sealStored } from "./key-vault.ts";
import {
  canonicalKeys,
  readSettings,
  refused,
  unknownKeys,
  withoutSecrets,
  type CaSettings,
  type ProviderConfig,
} from "./provider-config.ts";
import {
  CONFIG,
  CONFIG_KEY,
  KEYS,
  REQUEST_KEY,
  ROOTS,
  VAULT_TOKEN,
  type ConfigRecord,
  type KeyRecord,
  type Provider,
  type RootRecord,
  type WayBack,
} from "./records.ts";
import { createPreparations, type Finish, type Preparations } from "./preparation.ts";
import { prepareRoot, prepareSigner } from "./rotation.ts";
import { shortenLeaves, switchRoots, switchSigner } from "./switch-roots.ts";
import { openRemote, type Remote } from "./vault/remote.ts";
import type { VaultSettings } from "./vault/settings.ts";
import { type Wanted, wantedOf } from "./wanted-root.ts";

export interface AuthorityOptions {
  store: Store;
  /** UUID of a new cluster; a random one by default. */
  clusterId?: string | undefined;
  /** Over Consul's defaults, at the first start. Consul's names or an agent file's (`leaf_cert_ttl`). */
  initialConfig?: ProviderConfig | undefined;
  /** Who signs: the CA itself, or Vault. */
  initialProvider?: Provider | undefined;
  /** Encrypt the roots' keys on disk: the first does, the others still open. */
  encryptionKeys?: readonly Buffer[] | undefined;
  clock: Clock;
  log: Logger;
}

export interface IssueRequest {
  csr: CsrFacts;
  csrPem: string;
  ttlMs: number;
  now: number;
  earliest: number | undefined;
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
  configure(provider: Provider, config: ProviderConfig | null, forceWithoutCrossSigning: boolean): Promise<void>;
  /** Has a checked request signed by the active root. Throws where that cannot sign now. */
  issue(request: IssueRequest): Promise<{ leaf: IssuedLeaf; chain: readonly string[]; rootId: string }>;
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
  rollBack(because: WayBack): Promise<string>;
  /**
   * Stops the rotation that is under way: what is still being prepared comes to nothing, and what was switched is rolled back. Throws
   * HeddleError of code `conflict` where none is.
   */
  abort(): Promise<{ phase: "preparing" | "switched"; rootId: string }>;
  readonly preparations: Pick<Preparations, "since" | "stoppedAt">;
  /** Whether a root is left that could sign again. */
  readonly canRollBack: boolean;
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
  const keys = createKeyVault(encryptionKeys);
  if (!store.get(CONFIG, CONFIG_KEY)) await found(options, keys);
  await sealStored(store, encryptionKeys, log);
  let activeRoot = loadActiveRoot(store, keys);
  const config = () => store.get<ConfigRecord>(CONFIG, CONFIG_KEY) as StoredRecord<ConfigRecord>;
  const settingsNow = () => readSettings(config().value.config ?? {}, config().value.provider);
  let settings = settingsNow();
  const { clusterId } = config().value;
  const trustDomain = clusterTrustDomain(clusterId);
  const { signer: signs } = activeRoot;
  if (signs && signs.trustDomain !== trustDomain)
    throw new UnavailableError(
      `the active root is of trust domain '${signs.trustDomain}', the cluster of '${trustDomain}'`,
    );
  const storedToken = (): string => {
    const record = store.get<KeyRecord>(KEYS, VAULT_TOKEN);
    return record ? keys.read(VAULT_TOKEN, record.value) : "";
  };
  const openVault = (wanted: VaultSettings, token: string) => openRemote({ settings: wanted, token, clock, log });
  let remote = settings.vault && openVault(settings.vault, storedToken());
  const useRemote = (next: Remote | undefined) => {
    if (next !== remote) remote?.close();
    remote = next;
  };
  const lifetimes = (of: CaSettings) => ({ ...of, trustDomain });
  // The first listener: whoever hears of new roots after it finds that they sign already.
  const stopFollowing = store.subscribe(({ changes }) => {
    if (changes.some(({ table }) => table === ROOTS)) activeRoot = loadActiveRoot(store, keys, activeRoot);
    // Another CA on the same store may have changed it.
    if (changes.some(({ table }) => table === CONFIG)) settings = settingsNow();
    if (settings.vault && !remote?.is(settings.vault, storedToken()))
      useRemote(openVault(settings.vault, storedToken()));
    // One may go back to Vault's root while that is in the list.
    if (!settings.vault && remote && !store.list<RootRecord>(ROOTS).some(({ value }) => value.origin === "vault"))
      useRemote(undefined);
  });

  const change = async (
    next: CaSettings,
    wanted: Wanted,
    given?: Pick<ConfigRecord, "config" | "forceWithoutCrossSigning" | "provider">,
    { token, because, finish = () => [] }: { token?: string; because?: WayBack; finish?: Finish } = {},
  ): Promise<void> => {
    const now = clock.now();
    const { id: from } = activeRoot;
    const isForced = given?.forceWithoutCrossSigning ?? false;
    const activeVault = activeRoot.origin === "vault" ? remote?.pki : undefined;
    const options = { settings: next, trustDomain, isForced, activeVault, now, log };
    const root = wanted && "root" in wanted ? await prepareRoot(wanted.root, activeRoot, options) : undefined;
    if (root && because) root.wentBackBecause = because;
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
      const roots = root ? switchRoots(view, root, times, keys) : shortenLeaves(view, times);
      if (signer) roots.push(...switchSigner(view, signer.intermediate, keys));
      if (settings.intermediateCert !== next.intermediateCert)
        roots.push({ table: KEYS, key: REQUEST_KEY, value: undefined });
      if (token !== undefined) roots.push({ table: KEYS, key: VAULT_TOKEN, value: keys.toRecord(VAULT_TOKEN, token) });
      const written = given ? [{ table: CONFIG, key: CONFIG_KEY, value }] : [];
      return { writes: [...finish(view), ...written, ...roots], result: undefined };
    });
    settings = next;
    if (given)
      log.info("CA configuration changed", { leaf_ttl_ms: next.leafTtlMs, csr_max_per_second: next.csrMaxPerSecond });
    if (root) log.info("CA root rotated", { from, to: root.id, cross_signed: root.isCrossSigned });
    if (signer)
      log.info("another certificate signs for the CA's root", { root: from, id: signer.intermediate?.id ?? from });
  };

  const preparations = createPreparations({ store, clock });
  /** A change that may be aborted until it is committed. */
  const prepare = (next: CaSettings, wanted: Wanted, given?: Parameters<typeof change>[2]): Promise<void> =>
    wanted ? preparations.run((finish) => change(next, wanted, given, { finish })) : change(next, wanted, given);

  const configure: Authority["configure"] = async (provider, given, forceWithoutCrossSigning) => {
    const next = readSettings(given ?? {}, provider);
    const unknown = unknownKeys(given ?? {}, provider);
    if (unknown.length > 0)
      log.warn("the CA configuration has keys that mean nothing here", { keys: unknown.join(", ") });
    const kept = { provider, config: given && withoutSecrets(given), forceWithoutCrossSigning };
    if (next.vault) {
      const token = canonicalKeys(given ?? {})["Token"] || storedToken();
      if (typeof token !== "string" || token === "") throw refused("must provide a Vault token");
      await preparations.run((finish) =>
        withVault(next, token, (wanted) => change(next, wanted, kept, { token, finish })),
      );
      return;
    }
    const { id, certPem, rootSigner, intermediateId, origin } = activeRoot;
    // From Vault's root one comes to another in any case.
    const wanted =
      origin === "vault"
        ? wantedOf(next)
        : wantedOf(next, {
            id,
            intermediateId,
            key: rootSigner?.key,
            keyType: certificateKeyType(certPem),
            asked: settings.keyType,
            askedIntermediate: settings.intermediateSigns,
            requestKey: () => requestedKey(store, keys),
          });
    await prepare(next, wanted, kept);
  };

  /** Makes Vault's root and intermediate ready and switches to them, or changes nothing. */
  const withVault = async (next: CaSettings, token: string, switchTo: (wanted: Wanted) => Promise<void>) => {
    if (!next.vault) return;
    const candidate = remote?.is(next.vault, token) ? remote : openVault(next.vault, token);
    try {
      const { rootPem: certPem, intermediatePem } = await candidate.pki.prepare(lifetimes(next), clock.now());
      const root = { vault: candidate.pki, certPem, intermediatePem };
      const isSame = idOf(certPem) === activeRoot.id;
      const isAll = isSame && idOf(intermediatePem) === activeRoot.intermediateId;
      await switchTo(isAll ? undefined : isSame ? { signer: root } : { root });
      useRemote(candidate);
    } catch (error) {
      if (candidate !== remote) candidate.close();
      throw error;
    }
  };

  const renewIntermediate = async (): Promise<void> => {
    const { origin, certPem } = activeRoot;
    if (origin !== "vault" || !remote) return prepare(settings, { signer: { isIntermediate: true } });
    const intermediatePem = await remote.pki.renewIntermediate(lifetimes(settings));
    await prepare(settings, { signer: { vault: remote.pki, certPem, intermediatePem } });
  };

  const issue: Authority["issue"] = async ({ csr, csrPem, ttlMs, now, earliest = 0 }) => {
    const { id: rootId, signer, intermediates, intermediatePem } = activeRoot;
    const { spki, spiffeId } = csr;
    if (signer) {
      const leaf = await issueLeafAsync({ publicKey: spki, spiffeId, signer, ttlMs, now, earliest });
      return { leaf, chain: intermediates, rootId };
    }
    if (!remote) throw new UnavailableError("the key that signs is Vault's, and no Vault is configured");
    const { issuerPem, ...leaf } = await remote.pki.sign({ csrPem, spki, spiffeId, ttlMs, now });
    if (leaf.notBefore < earliest)
      throw new UnavailableError(
        "Vault dates certificates back to when the service was revoked: try again in a moment",
      );
    return { leaf, chain: [issuerPem, ...intermediates.filter((pem) => pem !== intermediatePem)], rootId };
  };

  const renewRoot: Authority["renewRoot"] = async () => {
    const { rootSigner, origin } = activeRoot;
    if (!rootSigner) throw new HeddleError("conflict", "the root's key is elsewhere: its operator replaces it");
    const { key } = rootSigner;
    await prepare(settings, { root: origin === "key" ? { key } : { type: signingKeyType(key) } });
  };

  const rollBack = async (because: WayBack): Promise<string> => {
    const { id, config: before, root } = formerRoot(store, keys);
    const provider = root ? "consul" : "vault";
    const next = readSettings(before ?? {}, provider);
    const given = { provider, config: before, forceWithoutCrossSigning: false } as const;
    const switchTo = (wanted: Wanted) => change(next, wanted, given, { because });
    if (root) await switchTo({ root });
    else
      await withVault(next, storedToken(), async (wanted) => {
        if (!wanted || !("root" in wanted) || !("certPem" in wanted.root) || idOf(wanted.root.certPem) !== id)
          throw new HeddleError("conflict", `Vault's root at ${next.vault?.rootPath} is another one now`);
        await switchTo(wanted);
      });
    return id;
  };

  const canRollBack = () => store.list<RootRecord>(ROOTS).some(({ value }) => !value.isActive);
  const abort: Authority["abort"] = async () => {
    if (await preparations.stop()) {
      log.warn("a rotation was aborted while it was being prepared");
      return { phase: "preparing", rootId: activeRoot.id };
    }
    return inTurn(async () => {
      const { id: from, rotatedAt, isRolledBack } = activeRoot;
      if (rotatedAt === undefined || !canRollBack())
        throw new HeddleError("conflict", "no rotation is under way: there is nothing to abort");
      if (isRolledBack) throw new HeddleError("conflict", "the rotation was taken back already");
      const rootId = await rollBack("aborted");
      log.warn("a rotation was aborted: the root before signs again", { from, to: rootId });
      return { phase: "switched", rootId };
    });
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
    configure: (...given) => inTurn(() => configure(...given)),
    issue,
    renewRoot: () => inTurn(renewRoot),
    renewIntermediate: () => inTurn(renewIntermediate),
    requestIntermediate: () =>
      inTurn(async () => {
        const csrPem = await requestIntermediate(store, keys, { type: settings.keyType, trustDomain });
        log.info("made a key and a request for an intermediate certificate");
        return csrPem;
      }),
    rollBack: (because) => inTurn(() => rollBack(because)),
    abort,
    preparations,
    get canRollBack() {
      return canRollBack();
    },
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
    close() {
      stopFollowing();
      remote?.close();
    },
  };
}
