/** What signs now, read from the store. */
import { HeddleError, UnavailableError } from "@heddle/daemon";
import type { Store } from "@heddle/store";
import {
  certificateId,
  certificatesToDer,
  createSigner,
  readCertificate,
  type Signer,
  type Validity,
} from "@heddle/tls";
import type { KeyVault } from "./key-vault.ts";
import { hasKey, KEYS, ROOTS, type KeyRecord, type RootOrigin, type RootRecord, type WayBack } from "./records.ts";

export interface ActiveRoot {
  id: string;
  certPem: string;
  validity: Validity;
  /** Signs leaves: the root itself, or an intermediate of it. Undefined where Vault does. */
  signer: Signer | undefined;
  signerValidity: Validity;
  /** The root with its own key, where that is here. */
  rootSigner: Signer | undefined;
  /** The intermediate that signs, where one does. */
  intermediateId: string | undefined;
  intermediatePem: string | undefined;
  /** Certificates from the signer to the root, and from it to older roots, as PEM; leaves are sent with them. */
  intermediates: readonly string[];
  origin: RootOrigin;
  /** When it took the place of another: milliseconds since the epoch. */
  rotatedAt: number | undefined;
  isRolledBack: boolean;
  /** Unknown where a version before wrote it. */
  wentBackBecause: WayBack | undefined;
}

/** Throws UnavailableError where what is stored does not fit together; the same object as `known` where nothing has changed. */
export function loadActiveRoot(store: Store, vault: KeyVault, known?: ActiveRoot): ActiveRoot {
  const active = store.list<RootRecord>(ROOTS).filter((record) => record.value.isActive);
  const [root] = active;
  if (!root || active.length !== 1)
    throw new UnavailableError(`the CA's store holds ${active.length} active roots instead of one`);
  const { certPem, intermediates, intermediatePem, origin = "made" } = root.value;
  if (root.key === known?.id && intermediates.join("") === known.intermediates.join("")) return known;
  const signerOf = (id: string, pem: string): Signer | undefined => {
    const record = store.get<KeyRecord>(KEYS, id);
    if (!record || !hasKey(record.value)) return undefined;
    const keyPem = vault.read(id, record.value);
    try {
      return createSigner({ certPem: pem, keyPem });
    } catch (cause) {
      throw new HeddleError("unavailable", `the CA's active root ${root.key} cannot sign`, { cause });
    }
  };
  const rootSigner = signerOf(root.key, certPem);
  const intermediateId = intermediatePem && idOf(intermediatePem);
  const signer = intermediateId && intermediatePem ? signerOf(intermediateId, intermediatePem) : rootSigner;
  if (!signer && origin !== "vault")
    throw new UnavailableError(`the CA's store holds no key for its active root ${root.key}`);
  return {
    id: root.key,
    certPem,
    validity: validityOf(certPem),
    signer,
    signerValidity: validityOf(intermediatePem ?? certPem),
    rootSigner,
    intermediateId,
    intermediatePem,
    intermediates,
    origin,
    rotatedAt: root.value.rotatedAt,
    isRolledBack: root.value.isRolledBack ?? false,
    wentBackBecause: root.value.wentBackBecause,
  };
}

function validityOf(pem: string): Validity {
  const { notBefore, notAfter } = readCertificate(certificatesToDer(pem)[0] as Buffer);
  return { notBefore, notAfter };
}

export const idOf = (certPem: string): string => certificateId(certificatesToDer(certPem)[0] as Buffer);
