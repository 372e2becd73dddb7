/** A new root, or a new signer under it: made or taken over, signed by what was before, and rehearsed. Nothing is switched here. */
import { describeError, HeddleError, type Logger } from "@heddle/daemon";
import {
  certificateId,
  certificatesToDer,
  createCsr,
  createRootCertificate,
  createSigner,
  createTrustBundle,
  crossSign,
  generateSigningKey,
  type Issuing,
  issuingOf,
  keyToPem,
  publicKeyDer,
  readCertificate,
  rehearseRotation,
  type Signer,
  signIntermediate,
  type SigningKeyType,
  signingKeyType,
  verifyChain,
} from "@heddle/tls";
import type { ActiveRoot } from "./active-root.ts";
import { type CaSettings, refused } from "./provider-config.ts";
import type { RootOrigin, WayBack } from "./records.ts";
import type { VaultPki } from "./vault/pki.ts";
import type { OfflineRoot, VaultRoot, WantedRoot, WantedSigner } from "./wanted-root.ts";

const KEY_CERT_SIGN = 1 << 5;
const REHEARSAL_TTL_MS = 3_600_000;
const CROSS_SIGNED_MS = 7 * 86_400_000; // Consul's; longer where leaves live longer

/** An intermediate that signs, and its key. */
export interface NewIntermediate {
  id: string;
  certPem: string;
  /** Absent where Vault has it. */
  keyPem?: string;
}

/** A root, with its key where that is here. */
export interface NewRoot {
  id: string;
  certPem: string;
  keyPem?: string;
  intermediate?: NewIntermediate;
  /** What leaves are sent with. */
  chain: string[];
  /** False for a first root, and where a switch was forced. */
  isCrossSigned: boolean;
  origin: RootOrigin;
  /** Of a root that one goes back to. */
  wentBackBecause?: WayBack;
}

export interface RotationOptions {
  settings: CaSettings;
  trustDomain: string;
  /** Go on where the old root cannot sign the new one. */
  isForced: boolean;
  /** Where the active root is Vault's. */
  activeVault: VaultPki | undefined;
  now: number;
  log: Logger;
}

/** Makes ready what a rotation switches to from `old`, which is absent where a mesh is founded. Throws a refusal, and then nothing has changed. */
export async function prepareRoot(
  wanted: WantedRoot,
  old: ActiveRoot | undefined,
  options: RotationOptions,
): Promise<NewRoot> {
  const { isForced, now, log } = options;
  const { issuing, ...root } = await take(wanted, options);
  const { certPem, intermediate } = root;
  const made: NewRoot = { ...root, chain: intermediate ? [intermediate.certPem] : [], isCrossSigned: false };
  const rehearse = async (from?: ActiveRoot) => {
    const old = from && issuingFrom(from, options);
    const { isStrict } = await rehearseRotation({ old, next: { ...issuing, chain: made.chain }, now });
    if (!isStrict) log.info("the openssl command is not installed: chains were verified by handshakes alone");
  };
  try {
    // What is made here is right by its tests, and a first start should not wait; what was offered may be anything.
    if (!old) {
      if ("certPem" in wanted || made.intermediate) await rehearse();
    } else {
      const alone = made.chain;
      try {
        made.chain = [...alone, ...(await bridge(certPem, old, options))];
        await rehearse(old);
        made.isCrossSigned = true;
      } catch (error) {
        made.chain = alone;
        throw error;
      }
    }
  } catch (error) {
    if (!old || !isForced) throw notCrossSigned(error, old !== undefined);
    await rehearse();
    log.warn("the new root is not signed by the old one: proxies refuse each other until they have heard of it", {
      reason: describeError(error),
    });
  }
  return made;
}

/** What leads from a new root to the old one: signed by the old root, or, where its key is elsewhere, by the intermediate that signs for it. */
async function bridge(
  certPem: string,
  old: ActiveRoot,
  { settings: { leafTtlMs }, activeVault, now }: RotationOptions,
): Promise<string[]> {
  if (activeVault) return [await activeVault.crossSign(certPem)];
  const signer = old.rootSigner ?? old.signer;
  if (!signer) throw new HeddleError("unavailable", "the old root's key is elsewhere: it can sign nothing here");
  const crossPem = crossSign({ certPem, signer, validityMs: Math.max(CROSS_SIGNED_MS, 2 * leafTtlMs), now });
  return old.rootSigner ? [crossPem] : [crossPem, signer.certPem];
}

type Made = Pick<NewRoot, "certPem" | "id" | "intermediate" | "keyPem" | "origin"> & { issuing: Issuing };

async function take(wanted: WantedRoot, options: RotationOptions): Promise<Made> {
  if ("vault" in wanted) return takeVaults(wanted, options);
  return "intermediatePem" in wanted ? takeOffline(wanted, options) : makeRoot(wanted, options);
}

/** How leaves come from the active root. */
function issuingFrom(active: ActiveRoot, { activeVault, trustDomain }: RotationOptions): Issuing {
  const { certPem, signer, intermediates } = active;
  if (signer) return issuingOf(signer, certPem, intermediates);
  if (!activeVault)
    throw new HeddleError("unavailable", "the active root's key is elsewhere: it can sign nothing here");
  return vaultIssuing(activeVault, { certPem, trustDomain, chain: intermediates });
}

function vaultIssuing(
  vault: VaultPki,
  { certPem, trustDomain, chain }: { certPem: string; trustDomain: string; chain: readonly string[] },
): Issuing {
  return {
    rootPem: certPem,
    trustDomain,
    chain,
    async issue(key, spiffeId, now) {
      const csrPem = createCsr({ key, spiffeId });
      return (await vault.sign({ csrPem, spki: publicKeyDer(key), spiffeId, ttlMs: REHEARSAL_TTL_MS, now })).certPem;
    },
  };
}

/** A root and an intermediate that Vault keeps. */
function takeVaults({ vault, certPem, intermediatePem }: VaultRoot, { trustDomain, now }: RotationOptions): Made {
  checkOffline(certPem, intermediatePem, now);
  const intermediate = { id: idOf(intermediatePem), certPem: intermediatePem };
  const issuing = vaultIssuing(vault, { certPem, trustDomain, chain: [intermediatePem] });
  return { id: idOf(certPem), certPem, intermediate, origin: "vault", issuing };
}

async function makeRoot(
  wanted: Exclude<WantedRoot, OfflineRoot | VaultRoot>,
  { settings, trustDomain, now }: RotationOptions,
): Promise<Made> {
  const key = "key" in wanted ? wanted.key : await generateSigningKey(wanted.type);
  const certPem =
    "certPem" in wanted
      ? wanted.certPem
      : (await createRootCertificate({ trustDomain, key, now, validityMs: settings.rootTtlMs })).certPem;
  const keyPem = keyToPem(key);
  const signer = readSigner({ certPem, keyPem, trustDomain, now });
  if (!signer.isSelfSigned) throw refused("the offered root is signed by another certificate: want a root");
  const origin = "certPem" in wanted ? wanted.origin : "key" in wanted ? "key" : "made";
  const root = { id: idOf(certPem), certPem, keyPem, origin };
  if (!settings.intermediateSigns) return { ...root, issuing: issuingOf(signer) };
  const intermediate = await makeIntermediate(signer, signingKeyType(key), settings, now);
  return { ...root, intermediate, issuing: issuingOf(createSigner(intermediate), certPem) };
}

async function makeIntermediate(
  root: Signer,
  type: SigningKeyType,
  { intermediateTtlMs }: CaSettings,
  now: number,
): Promise<Required<NewIntermediate>> {
  const key = await generateSigningKey(type);
  const certPem = signIntermediate({ publicKey: key, signer: root, validityMs: intermediateTtlMs, now });
  return { id: idOf(certPem), certPem, keyPem: keyToPem(key) };
}

/** A root whose key is elsewhere, and the intermediate that signs for it here. */
function takeOffline({ certPem, intermediatePem, intermediateKey }: OfflineRoot, options: RotationOptions): Made {
  const { trustDomain, now, settings } = options;
  const intermediate = { id: idOf(intermediatePem), certPem: intermediatePem, keyPem: keyToPem(intermediateKey) };
  const signer = readSigner({ ...intermediate, trustDomain, now, what: "intermediate" });
  if (signer.isSelfSigned)
    throw refused("the offered intermediate is signed by itself: want one that the root has signed");
  checkOffline(certPem, intermediatePem, now);
  if (signer.notAfter - now < 3 * settings.leafTtlMs)
    throw refused(
      `the offered intermediate ends at ${new Date(signer.notAfter).toISOString()}, want at least three lives of a leaf (LeafCertTTL)`,
    );
  return { id: idOf(certPem), certPem, intermediate, origin: "offline", issuing: issuingOf(signer, certPem) };
}

function checkOffline(certPem: string, intermediatePem: string, now: number): void {
  const [root, issued] = [certPem, intermediatePem].map((pem) => certificatesToDer(pem)[0] as Buffer);
  const { ca, subject, issuer, keyUsage = 0 } = readCertificate(root as Buffer);
  if (!ca || !subject.equals(issuer)) throw refused("the offered root is no self-signed certificate of a CA");
  // Strict verifiers refuse a root that does not say so (RFC 5280 §4.2.1.3).
  if (!(keyUsage & KEY_CERT_SIGN)) throw refused("the offered root has no key usage for signing certificates");
  const chain = verifyChain(issued as Buffer, [], createTrustBundle([certPem]), now);
  if (!chain.ok) throw refused(`the offered intermediate does not lead to the offered root: ${chain.reason}`);
}

/** Another signer under the active root. Throws a refusal, and then nothing has changed. */
export async function prepareSigner(
  wanted: WantedSigner,
  active: ActiveRoot,
  options: RotationOptions,
): Promise<NewIntermediate | undefined> {
  const { settings, now } = options;
  const { certPem, rootSigner } = active;
  const { intermediate, issuing } = await (async () => {
    if (!("isIntermediate" in wanted)) return take(wanted, options);
    if (!rootSigner) throw refused("the root's key is elsewhere: offer an intermediate that it has signed");
    if (!wanted.isIntermediate) return { intermediate: undefined, issuing: issuingOf(rootSigner) };
    const made = await makeIntermediate(rootSigner, signingKeyType(rootSigner.key), settings, now);
    return { intermediate: made, issuing: issuingOf(createSigner(made), certPem) };
  })();
  await rehearseRotation({ next: { ...issuing, chain: intermediate ? [intermediate.certPem] : [] }, now });
  return intermediate;
}

interface Given {
  certPem: string;
  keyPem: string;
  trustDomain: string;
  now: number;
  what?: string;
}

function readSigner({ certPem, keyPem, trustDomain, now, what = "root" }: Given): Signer {
  const signer = (() => {
    try {
      return createSigner({ certPem, keyPem });
    } catch (error) {
      throw refused(`the offered ${what} cannot be used: ${describeError(error)}`);
    }
  })();
  if (signer.trustDomain !== trustDomain)
    throw refused(
      `the offered ${what} is of trust domain '${signer.trustDomain}', want one whose URI is 'spiffe://${trustDomain}'`,
    );
  if (now < signer.notBefore || now >= signer.notAfter)
    throw refused(
      `the offered ${what} is valid from ${new Date(signer.notBefore).toISOString()} to ${new Date(signer.notAfter).toISOString()}, which is not now`,
    );
  return signer;
}

const idOf = (certPem: string): string => certificateId(certificatesToDer(certPem)[0] as Buffer);

function notCrossSigned(error: unknown, hasOld: boolean): HeddleError {
  const more = hasOld ? "; ForceWithoutCrossSigning switches all the same, at the price of refused connections" : "";
  return new HeddleError("invalid_argument", `the root stays as it is: ${describeError(error)}${more}`, {
    status: 500,
    cause: error,
  });
}
