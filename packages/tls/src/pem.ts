/** PEM blocks (RFC 7468), read strictly: exactly the blocks asked for and nothing around them. */
import { IdentityError } from "@heddle/spiffe";

const BLOCK = /-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END \1-----(?:\r?\n|$)/y;

/** The DER of every block of `label`; anything else in the text is an IdentityError. `what` names the text in it. */
export function readPem(text: string, label: string, what: string): Buffer[] {
  const blocks: Buffer[] = [];
  const body = text.trim();
  BLOCK.lastIndex = 0;
  while (BLOCK.lastIndex < body.length) {
    const match = BLOCK.exec(body);
    if (!match) throw new IdentityError(`${what}: want PEM blocks of type '${label}' and nothing else`);
    if (match[1] !== label) throw new IdentityError(`${what}: a PEM block of type '${match[1]}', want '${label}'`);
    const base64 = (match[2] as string).replace(/[\r\n]/g, "");
    const bytes = Buffer.from(base64, "base64");
    if (bytes.toString("base64") !== base64) throw new IdentityError(`${what}: a PEM block that is not valid base64`);
    blocks.push(bytes);
    // Blank lines between blocks are common in concatenated bundles.
    while (/[\r\n]/.test(body[BLOCK.lastIndex] ?? "")) BLOCK.lastIndex++;
  }
  if (blocks.length === 0) throw new IdentityError(`${what}: it holds no PEM block of type '${label}'`);
  return blocks;
}

export function toPem(label: string, bytes: Uint8Array): string {
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  let lines = "";
  for (let at = 0; at < base64.length; at += 64) lines += `${base64.slice(at, at + 64)}\n`;
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

export const certificatesToDer = (pem: string, what = "certificate"): Buffer[] => readPem(pem, "CERTIFICATE", what);
export const certificateToPem = (bytes: Uint8Array): string => toPem("CERTIFICATE", bytes);
