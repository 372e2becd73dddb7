/** A new root: made or taken over, cross-signed by the old one, and rehearsed. Nothing is switched here. */
import type { Logger } from "@heddle/daemon";
import { describeError, HeddleError } from "@heddle/daemon";
import {
  certificateId,
  certificatesToDer,
  createRootCertificate,
  createSigner,
  crossSign,
  generateSigningKey,
  keyToPem,
  rehearseRotation,
  type Signer,
} from "@heddle/tls";
import { type CaSettings, refused } from "./provider-config.ts";
import type { RootOrigin } from "./records.ts";
import type { WantedRoot } from "./wanted-root.ts";

const CROSS_SIGNED_MS = 7 * 86_400_000; // Consul's; longer where leaves live longer

/** A root and its key. */
export interface NewRoot {
  id: string;
  certPem: string;
  keyPem: string;
  signer: Signer;
  /** The root as signed by the old one; absent for a first root, and where a switch was forced. */
  crossPem?: string;
  origin: RootOrigin;
}

export interface RotationOptions {
  wanted: WantedRoot;
  settings: CaSettings;
  trustDomain: string;
  /** What signs until then; undefined where a mesh is founded. */
  old?: Signer | undefined;
  /** Go on where the old root cannot sign the new one. */
  isForced: boolean;
  now: number;
  log: Logger;
}

/** Makes ready what a rotation switches to. Throws a refusal, and then nothing has changed. */
export async function prepareRoot(options: RotationOptions): Promise<NewRoot> {
  const { wanted, settings, trustDomain, old, isForced, now, log } = options;
  const key = "key" in wanted ? wanted.key : await generateSigningKey(wanted.type);
  const certPem =
    "certPem" in wanted
      ? wanted.certPem
      : (await createRootCertificate({ trustDomain, key, now, validityMs: settings.rootTtlMs })).certPem;
  const keyPem = keyToPem(key);
  const signer = readSigner({ certPem, keyPem, trustDomain, now });
  const origin = "certPem" in wanted ? wanted.origin : "key" in wanted ? "key" : "made";
  const root: NewRoot = { id: certificateId(certificatesToDer(certPem)[0] as Buffer), certPem, keyPem, signer, origin };
  try {
    // What is made here is right by its tests, and a first start should not wait; what was offered may be anything.
    if (!old) {
      if ("certPem" in wanted) await rehearseRotation({ next: signer, now });
    } else {
      const crossPem = crossSign({
        certPem,
        signer: old,
        validityMs: Math.max(CROSS_SIGNED_MS, 2 * settings.leafTtlMs),
        now,
      });
      await rehearseRotation({ old, next: signer, crossPem, now });
      root.crossPem = crossPem;
    }
  } catch (error) {
    if (!old || !isForced) throw notCrossSigned(error, old !== undefined);
    await rehearseRotation({ next: signer, now });
    log.warn("the new root is not signed by the old one: proxies refuse each other until they have heard of it", {
      reason: describeError(error),
    });
  }
  return root;
}

function readSigner(given: { certPem: string; keyPem: string; trustDomain: string; now: number }): Signer {
  const { trustDomain, now } = given;
  const signer = (() => {
    try {
      return createSigner(given);
    } catch (error) {
      throw refused(`the offered root cannot be used: ${describeError(error)}`);
    }
  })();
  if (signer.trustDomain !== trustDomain)
    throw refused(
      `the offered root is of trust domain '${signer.trustDomain}', want one whose URI is 'spiffe://${trustDomain}'`,
    );
  if (!signer.isSelfSigned) throw refused("the offered root is signed by another certificate: want a root");
  if (now < signer.notBefore || now >= signer.notAfter)
    throw refused(
      `the offered root is valid from ${new Date(signer.notBefore).toISOString()} to ${new Date(signer.notAfter).toISOString()}, which is not now`,
    );
  return signer;
}

function notCrossSigned(error: unknown, hasOld: boolean): HeddleError {
  const more = hasOld ? "; ForceWithoutCrossSigning switches all the same, at the price of refused connections" : "";
  return new HeddleError("invalid_argument", `the root stays as it is: ${describeError(error)}${more}`, {
    status: 500,
    cause: error,
  });
}
