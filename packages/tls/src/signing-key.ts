/** Keys that sign for a mesh: of the types and sizes that Consul's configuration knows. */
import { createPrivateKey, generateKeyPair, type KeyObject, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import { IdentityError } from "@heddle/spiffe";

export interface SigningKeyType {
  type: "ec" | "rsa";
  bits: number;
}

const CURVES = new Map([
  [224, "secp224r1"],
  [256, "prime256v1"],
  [384, "secp384r1"],
  [521, "secp521r1"],
]);
const RSA_BITS = new Set([2048, 4096]);

/** What is wrong with a type and size of key, in Consul's words; undefined where nothing is. */
export function signingKeyProblem(type: string, bits: number): string | undefined {
  if (type !== "ec" && type !== "rsa") return "private key type must be either 'ec' or 'rsa'";
  if (type === "ec" && !CURVES.has(bits)) return "EC key length must be one of (224, 256, 384, 521) bits";
  if (type === "rsa" && !RSA_BITS.has(bits)) return "RSA key length must be 2048 or 4096 bits";
  return undefined;
}

const generate = promisify(generateKeyPair);

/** A new key, made on the thread pool: an RSA key takes seconds. Throws IdentityError for a type that is not known. */
export async function generateSigningKey({ type, bits }: SigningKeyType): Promise<KeyObject> {
  const problem = signingKeyProblem(type, bits);
  if (problem !== undefined) throw new IdentityError(problem);
  const pair =
    type === "rsa"
      ? await generate("rsa", { modulusLength: bits })
      : await generate("ec", { namedCurve: CURVES.get(bits) as string });
  return pair.privateKey;
}

/** Reads a private key as PEM. Throws IdentityError, which never holds the text, where it is none or may not sign here. */
export function parseSigningKey(pem: string): KeyObject {
  if (!pem.includes("-----BEGIN ")) throw new IdentityError("no PEM-encoded data found");
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new IdentityError("it cannot be read as a PEM private key without a passphrase"); // OpenSSL's own words may quote the text
  }
  signingKeyType(key);
  return key;
}

/** The type and size of a key. Throws IdentityError for one that may not sign for a mesh. */
export function signingKeyType(key: KeyObject): SigningKeyType {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === "ec") {
    for (const [bits, curve] of CURVES) if (curve === details?.namedCurve) return { type, bits };
    throw new IdentityError(`an EC key on curve '${details?.namedCurve ?? "of its own"}', want P-224 to P-521`);
  }
  if (type !== "rsa") throw new IdentityError(`a key of type '${type}', want EC or RSA`);
  const bits = details?.modulusLength ?? 0;
  if (bits < 2048 || bits > 4096) throw new IdentityError(`an RSA key of ${bits} bits, want 2048 to 4096`);
  return { type, bits };
}

/** The type and size of a certificate's key. */
export function certificateKeyType(certPem: string): SigningKeyType {
  return signingKeyType(new X509Certificate(certPem).publicKey);
}
