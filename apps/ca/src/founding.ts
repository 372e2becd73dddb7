/** The first start: a cluster, its first root and the configuration, in one commit. */
import { randomUUID } from "node:crypto";
import { InvalidArgumentError } from "@heddle/daemon";
import { clusterTrustDomain } from "@heddle/spiffe";
import type { AuthorityOptions } from "./authority.ts";
import type { KeyVault } from "./key-vault.ts";
import { canonicalKeys, DEFAULT_PROVIDER_CONFIG, readSettings, refused, withoutSecrets } from "./provider-config.ts";
import { CONFIG, CONFIG_KEY, type ConfigRecord, KEYS, VAULT_TOKEN } from "./records.ts";
import { prepareRoot } from "./rotation.ts";
import { rootWrites } from "./switch-roots.ts";
import { openRemote } from "./vault/remote.ts";
import { type WantedRoot, wantedOf } from "./wanted-root.ts";

/** Founds the cluster. Throws InvalidArgumentError for a bad id, and refusals of the configuration; nothing is written then. */
export async function found(
  { store, clusterId = randomUUID(), initialConfig = {}, initialProvider = "consul", clock, log }: AuthorityOptions,
  keys: KeyVault,
): Promise<void> {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(clusterId))
    throw new InvalidArgumentError(`invalid cluster id '${clusterId}': want a UUID`);
  const config = { ...DEFAULT_PROVIDER_CONFIG, ...canonicalKeys(initialConfig) };
  const settings = readSettings(config, initialProvider);
  const trustDomain = clusterTrustDomain(clusterId);
  const token = typeof config["Token"] === "string" ? config["Token"] : "";
  const remote = settings.vault && openRemote({ settings: settings.vault, token, clock, log });
  const wanted = async (): Promise<WantedRoot> => {
    if (!remote) return (wantedOf(settings) as { root: WantedRoot }).root;
    if (token === "") throw refused("must provide a Vault token");
    const { rootPem: certPem, intermediatePem } = await remote.pki.prepare({ ...settings, trustDomain }, clock.now());
    return { vault: remote.pki, certPem, intermediatePem };
  };
  const options = { settings, trustDomain, isForced: false, activeVault: undefined, log };
  const root = await wanted()
    .then((made) => prepareRoot(made, undefined, { ...options, now: clock.now() })) // Vault's begins while we wait for it
    .finally(() => remote?.close());
  const value: ConfigRecord = {
    clusterId: clusterId.toLowerCase(),
    provider: initialProvider,
    config: withoutSecrets(config),
    forceWithoutCrossSigning: false,
  };
  const writes = [{ table: CONFIG, key: CONFIG_KEY, value }, ...rootWrites(root, keys)];
  if (remote) writes.push({ table: KEYS, key: VAULT_TOKEN, value: keys.toRecord(VAULT_TOKEN, token) });
  const { result: isOurs } = await store.run((view) => {
    // Another CA that starts on the same store may have been faster.
    if (view.get(CONFIG, CONFIG_KEY)) return { writes: [], result: false };
    return { writes, result: true };
  });
  if (isOurs) log.info("made a new root certificate", { root: root.id, trust_domain: trustDomain });
}
