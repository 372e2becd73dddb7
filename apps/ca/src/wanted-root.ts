/** Which root, and which signer under it, a configuration asks for: another root than the active one is a rotation. */
import { type KeyObject, X509Certificate } from "node:crypto";
import { describeError, HeddleError } from "@heddle/daemon";
import {
  certificateId,
  certificatesToDer,
  certificateToPem,
  parseSigningKey,
  publicKeyDer,
  type SigningKeyType,
} from "@heddle/tls";
import type { RootOrigin } from "./records.ts";
import { type CaSettings, refused } from "./provider-config.ts";
import type { VaultPki } from "./vault/pki.ts";

/** A root to be: made here, made of an offered key, offered whole, or kept elsewhere, with an intermediate that signs for it here. */
export type WantedRoot =
  | { type: SigningKeyType }
  | { key: KeyObject }
  | { key: KeyObject; certPem: string; origin: RootOrigin }
  | OfflineRoot
  | VaultRoot;

export interface OfflineRoot {
  certPem: string;
  intermediatePem: string;
  intermediateKey: KeyObject;
}

/** Both are Vault's. */
export interface VaultRoot {
  vault: VaultPki;
  certPem: string;
  intermediatePem: string;
}

/** Another signer under the same root: an offered one, one of Vault's, or what the root itself makes of it. */
export type WantedSigner = OfflineRoot | VaultRoot | { isIntermediate: boolean };

export type Wanted = { root: WantedRoot } | { signer: WantedSigner } | undefined;

/** The root that is there, and what the configuration before asked for. */
export interface PresentRoot {
  id: string;
  /** The root's own; undefined where it is elsewhere. */
  key: KeyObject | undefined;
  /** Of the intermediate that signs, where one does. */
  intermediateId: string | undefined;
  keyType: SigningKeyType;
  asked: SigningKeyType;
  askedIntermediate: boolean;
  /** The key that the last request for an intermediate was made with. */
  requestKey: () => KeyObject | undefined;
}

/**
 * What `settings` ask for; undefined where all stays as it is. A configuration that names no key keeps the one there is, for
 * no answer of ours shows a key: what a client read and writes back changes nothing. Throws Consul's 500s.
 */
export function wantedOf(settings: CaSettings, present?: PresentRoot): Wanted {
  const { privateKey, rootCert, intermediateCert } = settings;
  const key = privateKey === "" ? undefined : readKey(privateKey);
  if (intermediateCert !== "") return wantedOffline(settings, key, present);
  const root = rootCert !== "" ? wantedWhole(rootCert, key, present) : wantedOwn(settings, key, present);
  if (root) return { root };
  if (!present?.key || settings.intermediateSigns === present.askedIntermediate) return undefined;
  return { signer: { isIntermediate: settings.intermediateSigns } };
}

function wantedWhole(rootCert: string, key: KeyObject | undefined, present?: PresentRoot): WantedRoot | undefined {
  const root = readOne(rootCert, "root", key !== undefined);
  if (root?.id === present?.id && root && present?.key && (!key || isSame(key, present.key))) return undefined;
  if (!root || !key) throw refused("must provide a private key when providing a root cert");
  return { key, certPem: root.certPem, origin: "root" };
}

function wantedOwn(settings: CaSettings, key: KeyObject | undefined, present?: PresentRoot): WantedRoot | undefined {
  const { keyType, hasKeyType } = settings;
  if (key) return isSame(key, present?.key) ? undefined : { key };
  if (!present) return { type: keyType };
  const isAsked = hasKeyType || !isSameType(keyType, present.asked);
  return isAsked && !isSameType(keyType, present.keyType) ? { type: keyType } : undefined;
}

/** A root whose key is elsewhere: its intermediate's key is offered, or was made here for a request. */
function wantedOffline({ rootCert, intermediateCert }: CaSettings, key?: KeyObject, present?: PresentRoot): Wanted {
  if (rootCert === "") throw refused("must provide a root cert when providing an intermediate cert");
  const root = readOne(rootCert, "root", true);
  const intermediate = readOne(intermediateCert, "intermediate", true);
  if (!root || !intermediate) return undefined; // readOne has thrown
  if (root.id === present?.id && intermediate.id === present.intermediateId) return undefined;
  const signs = (candidate: KeyObject | undefined): candidate is KeyObject =>
    candidate !== undefined && new X509Certificate(intermediate.certPem).checkPrivateKey(candidate);
  const intermediateKey = [key, key ? undefined : present?.requestKey()].find(signs);
  if (!intermediateKey)
    throw refused(
      key
        ? "the private key does not belong to the intermediate cert"
        : "must provide the intermediate cert's private key, or one that was signed for the last request (connect ca csr)",
    );
  const offline = { certPem: root.certPem, intermediatePem: intermediate.certPem, intermediateKey };
  return root.id === present?.id ? { signer: offline } : { root: offline };
}

// The text of a key is in no message, as it is in Consul's.
function readKey(pem: string): KeyObject {
  try {
    return parseSigningKey(pem);
  } catch (error) {
    const why = `error generating CA root certificate: error generating CA: error parsing private key: ${describeError(error)}`;
    throw new HeddleError("invalid_argument", why, { status: 500 });
  }
}

function readOne(pem: string, what: string, isNeeded: boolean): { id: string; certPem: string } | undefined {
  try {
    const [der, ...more] = certificatesToDer(pem, `${what} certificate`);
    if (more.length > 0) throw new Error(`${what} certificate: want exactly one`);
    return { id: certificateId(der as Buffer), certPem: certificateToPem(der as Buffer) };
  } catch (error) {
    if (!isNeeded) return undefined;
    const why = pem.includes("-----BEGIN ") ? describeError(error) : "no PEM-encoded data found";
    throw new HeddleError("invalid_argument", `error parsing ${what} fingerprint: ${why}`, { status: 500 });
  }
}

const isSame = (key: KeyObject, other: KeyObject | undefined): boolean =>
  other !== undefined && publicKeyDer(key).equals(publicKeyDer(other));

const isSameType = (a: SigningKeyType, b: SigningKeyType): boolean => a.type === b.type && a.bits === b.bits;
