/** Which root a configuration asks for: another than the active one is a rotation. */
import type { KeyObject } from "node:crypto";
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

/** A root to be: made here, made of an offered key, or offered whole. */
export type WantedRoot =
  | { type: SigningKeyType }
  | { key: KeyObject }
  | { key: KeyObject; certPem: string; origin: RootOrigin };

/** The root that is there, and what the configuration before asked for. */
export interface PresentRoot {
  id: string;
  key: KeyObject;
  keyType: SigningKeyType;
  asked: SigningKeyType;
}

/**
 * The root that `settings` ask for; undefined where it is the active one. A configuration that names no key keeps the one
 * there is, for no answer of ours shows a key: what a client read and writes back changes nothing. Throws Consul's 500s.
 */
export function wantedRoot(settings: CaSettings, present?: PresentRoot): WantedRoot | undefined {
  const { privateKey, rootCert, keyType, hasKeyType } = settings;
  const key = privateKey === "" ? undefined : readKey(privateKey);
  if (rootCert !== "") {
    const root = readRoot(rootCert, key !== undefined);
    if (root?.id === present?.id && root && (!key || isSame(key, present?.key))) return undefined;
    if (!root || !key) throw refused("must provide a private key when providing a root cert");
    return { key, certPem: root.certPem, origin: "root" };
  }
  if (key) return isSame(key, present?.key) ? undefined : { key };
  if (!present) return { type: keyType };
  const isAsked = hasKeyType || !isSameType(keyType, present.asked);
  return isAsked && !isSameType(keyType, present.keyType) ? { type: keyType } : undefined;
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

function readRoot(pem: string, isNeeded: boolean): { id: string; certPem: string } | undefined {
  try {
    const [der, ...more] = certificatesToDer(pem, "root certificate");
    if (more.length > 0) throw new Error("root certificate: want exactly one");
    return { id: certificateId(der as Buffer), certPem: certificateToPem(der as Buffer) };
  } catch (error) {
    if (!isNeeded) return undefined;
    const why = pem.includes("-----BEGIN ") ? describeError(error) : "no PEM-encoded data found";
    throw new HeddleError("invalid_argument", `error parsing root fingerprint: ${why}`, { status: 500 });
  }
}

const isSame = (key: KeyObject, other: KeyObject | undefined): boolean =>
  other !== undefined && publicKeyDer(key).equals(publicKeyDer(other));

const isSameType = (a: SigningKeyType, b: SigningKeyType): boolean => a.type === b.type && a.bits === b.bits;
