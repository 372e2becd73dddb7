/**
 * The authority: a cluster's trust domain, its roots and their keys, as the store holds them. The first start writes all of
 * it in one commit, so that a crash leaves either a whole authority or none, and there is always exactly one active root.
 */
import { randomUUID } from "node:crypto";
import { type Clock, HeddleError, InvalidArgumentError, type Logger, UnavailableError } from "@heddle/daemon";
import { clusterTrustDomain } from "@heddle/spiffe";
import type { Store, StoredRecord } from "@heddle/store";
import { certificateId, certificatesToDer, createRootCertificate, createSigner, type Signer } from "@heddle/tls";
import {
  canonicalKeys,
  DEFAULT_PROVIDER_CONFIG,
  readSettings,
  unknownKeys,
  type CaSettings,
  type ProviderConfig,
} from "./provider-config.ts";
import { CONFIG, CONFIG_KEY, KEYS, ROOTS, type ConfigRecord, type KeyRecord, type RootRecord } from "./records.ts";

export interface AuthorityOptions {
  store: Store;
  /** UUID of a new cluster; a random one by default. */
  clusterId?: string | undefined;
  /** Over Consul's defaults, at the first start. Consul's names or an agent file's (`leaf_cert_ttl`). */
  initialConfig?: ProviderConfig | undefined;
  clock: Clock;
  log: Logger;
}

/** What signs now. */
export interface ActiveRoot {
  id: string;
  signer: Signer;
}

export interface Authority {
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly activeRoot: ActiveRoot;
  readonly settings: CaSettings;
  roots(): StoredRecord<RootRecord>[];
  config(): StoredRecord<ConfigRecord>;
  /** Checks and stores a configuration; resolves when it is durable. Throws Consul's refusals. */
  configure(config: ProviderConfig | null, forceWithoutCrossSigning: boolean): Promise<void>;
  /** Calls back after every commit that changed the roots. */
  onRootsChanged(listener: () => void): () => void;
}

/** Opens the authority in a store, or founds it there. Throws UnavailableError where what is stored does not fit together. */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { store, log } = options;
  if (!store.get(CONFIG, CONFIG_KEY)) await found(options);
  const activeRoot = loadActiveRoot(store);
  const config = () => store.get<ConfigRecord>(CONFIG, CONFIG_KEY) as StoredRecord<ConfigRecord>;
  let settings = readSettings(config().value.config ?? {});
  const { clusterId } = config().value;
  const trustDomain = clusterTrustDomain(clusterId);
  if (activeRoot.signer.trustDomain !== trustDomain)
    throw new UnavailableError(
      `the active root is of trust domain '${activeRoot.signer.trustDomain}', the cluster of '${trustDomain}'`,
    );
  return {
    clusterId,
    trustDomain,
    activeRoot,
    get settings() {
      return settings;
    },
    roots: () => store.list<RootRecord>(ROOTS),
    config,
    async configure(given, forceWithoutCrossSigning) {
      const next = readSettings(given ?? {});
      const unknown = unknownKeys(given ?? {});
      if (unknown.length > 0)
        log.warn("the CA configuration has keys that mean nothing here", { keys: unknown.join(", ") });
      await store.run((view) => {
        const before = view.get<ConfigRecord>(CONFIG, CONFIG_KEY)?.value as ConfigRecord;
        const value: ConfigRecord = { ...before, config: given, forceWithoutCrossSigning };
        return { writes: [{ table: CONFIG, key: CONFIG_KEY, value }], result: undefined };
      });
      settings = next;
      log.info("CA configuration changed", { leaf_ttl_ms: next.leafTtlMs, csr_max_per_second: next.csrMaxPerSecond });
    },
    onRootsChanged: (listener) =>
      store.subscribe(({ changes }) => {
        if (changes.some((change) => change.table === ROOTS)) listener();
      }),
  };
}

async function found({
  store,
  clusterId = randomUUID(),
  initialConfig = {},
  clock,
  log,
}: AuthorityOptions): Promise<void> {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(clusterId))
    throw new InvalidArgumentError(`invalid cluster id '${clusterId}': want a UUID`);
  const config = { ...DEFAULT_PROVIDER_CONFIG, ...canonicalKeys(initialConfig) };
  readSettings(config);
  const trustDomain = clusterTrustDomain(clusterId);
  const { certPem, keyPem } = await createRootCertificate({ trustDomain, now: clock.now() });
  const id = certificateId(certificatesToDer(certPem)[0] as Buffer);
  const root: RootRecord = { certPem, intermediates: [], isActive: true };
  const settings: ConfigRecord = {
    clusterId: clusterId.toLowerCase(),
    provider: "consul",
    config,
    forceWithoutCrossSigning: false,
  };
  await store.run(() => ({
    writes: [
      { table: CONFIG, key: CONFIG_KEY, value: settings },
      { table: ROOTS, key: id, value: root },
      { table: KEYS, key: id, value: { keyPem } satisfies KeyRecord },
    ],
    result: undefined,
  }));
  log.info("made a new root certificate", { root: id, trust_domain: trustDomain });
}

function loadActiveRoot(store: Store): ActiveRoot {
  const active = store.list<RootRecord>(ROOTS).filter((record) => record.value.isActive);
  const [root] = active;
  if (!root || active.length !== 1)
    throw new UnavailableError(`the CA's store holds ${active.length} active roots instead of one`);
  const key = store.get<KeyRecord>(KEYS, root.key);
  if (!key) throw new UnavailableError(`the CA's store holds no key for its active root ${root.key}`);
  try {
    return { id: root.key, signer: createSigner({ certPem: root.value.certPem, keyPem: key.value.keyPem }) };
  } catch (cause) {
    throw new HeddleError("unavailable", `the CA's active root ${root.key} cannot sign`, { cause });
  }
}
